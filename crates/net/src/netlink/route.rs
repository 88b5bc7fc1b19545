//! rtnetlink(7): answers to requests. There is one link, with two addresses, and all routes lead to it.

use crate::netdev::{FLAGS, HARDWARE, INDEX, MTU};
use abi::Errno;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_BASE: u16 = 16;
const RTM_END: u16 = 123;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFLA_IFNAME: u16 = 3;

/// A message that is being put together.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, sequence: u32, port: u32) -> Message {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&port.to_le_bytes());
        Message(bytes)
    }

    fn raw(mut self, bytes: &[u8]) -> Message {
        self.0.extend_from_slice(bytes);
        self
    }

    fn attribute(mut self, kind: u16, data: &[u8]) -> Message {
        self.0.extend_from_slice(&((data.len() + 4) as u16).to_le_bytes());
        self.0.extend_from_slice(&kind.to_le_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let len = (self.0.len() as u32).to_le_bytes();
        if let Some(start) = self.0.first_chunk_mut() {
            *start = len;
        }
        self.0
    }
}

/// A request's header.
struct Request<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    whole: &'a [u8],
}

impl Request<'_> {
    fn body(&self) -> &[u8] {
        self.whole.get(HEADER..).unwrap_or_default()
    }

    fn reply(&self, kind: u16, flags: u16) -> Message {
        Message::new(kind, flags, self.sequence, self.port)
    }

    fn error(&self, error: Option<Errno>) -> Vec<u8> {
        let code = -error.map_or(0, Errno::raw);
        // Of a request that failed everything comes back, else only the header.
        let quoted = if error.is_some() { self.whole } else { self.whole.get(..HEADER).unwrap_or_default() };
        self.reply(NLMSG_ERROR, 0).raw(&code.to_le_bytes()).raw(quoted).finish()
    }

    fn link(&self, flags: u16) -> Vec<u8> {
        // struct ifinfomsg
        let message = self.reply(RTM_NEWLINK, flags).raw(&[0, 0]).raw(&HARDWARE.to_le_bytes());
        let message = message.raw(&INDEX.to_le_bytes()).raw(&(u32::from(FLAGS) | 0x1_0000).to_le_bytes());
        message
            .raw(&[0; 4])
            .attribute(IFLA_IFNAME, b"lo\0")
            .attribute(13, &1000u32.to_le_bytes()) // IFLA_TXQLEN
            .attribute(16, &[0]) // IFLA_OPERSTATE
            .attribute(17, &[0]) // IFLA_LINKMODE
            .attribute(4, &MTU.to_le_bytes()) // IFLA_MTU
            .attribute(27, &0u32.to_le_bytes()) // IFLA_GROUP
            .attribute(30, &0u32.to_le_bytes()) // IFLA_PROMISCUITY
            .attribute(31, &1u32.to_le_bytes()) // IFLA_NUM_TX_QUEUES
            .attribute(32, &1u32.to_le_bytes()) // IFLA_NUM_RX_QUEUES
            .attribute(33, &[1]) // IFLA_CARRIER
            .attribute(6, b"noqueue\0") // IFLA_QDISC
            .attribute(1, &[0; 6]) // IFLA_ADDRESS
            .attribute(2, &[0; 6]) // IFLA_BROADCAST
            .attribute(7, &[0; 96]) // IFLA_STATS
            .attribute(23, &[0; 192]) // IFLA_STATS64
            .finish()
    }

    fn address(&self, flags: u16, v6: bool) -> Vec<u8> {
        let (family, prefix, ip): (u8, u8, &[u8]) = if v6 {
            (AF_INET6, 128, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        } else {
            (AF_INET, 8, &[127, 0, 0, 1])
        };
        // struct ifaddrmsg: permanent, of this host.
        let message = self.reply(RTM_NEWADDR, flags).raw(&[family, prefix, 0x80, 254]).raw(&INDEX.to_le_bytes());
        let message = message.attribute(1, ip); // IFA_ADDRESS
        let message = if v6 { message } else { message.attribute(2, ip).attribute(3, b"lo\0") }; // IFA_LOCAL, IFA_LABEL
        let forever = [u32::MAX, u32::MAX, 0, 0].map(u32::to_le_bytes).concat();
        message.attribute(8, &0x80u32.to_le_bytes()).attribute(6, &forever).finish() // IFA_FLAGS, IFA_CACHEINFO
    }

    /// A route of the local table to the loopback device.
    fn route(&self, flags: u16, to: &[u8], prefix: u8) -> Vec<u8> {
        const LOCAL_TABLE: u8 = 255;
        const BY_KERNEL: u8 = 2;
        const SCOPE_HOST: u8 = 254;
        const TYPE_LOCAL: u8 = 2;
        let v6 = to.len() > 4;
        let family = if v6 { AF_INET6 } else { AF_INET };
        let message = self.reply(RTM_NEWROUTE, flags);
        let scope = if v6 { 0 } else { SCOPE_HOST };
        let message = message.raw(&[family, prefix, 0, 0, LOCAL_TABLE, BY_KERNEL, scope, TYPE_LOCAL]).raw(&[0; 4]);
        let message = message.attribute(15, &u32::from(LOCAL_TABLE).to_le_bytes()).attribute(1, to); // RTA_TABLE, RTA_DST
        let message = if v6 { message } else { message.attribute(7, &[127, 0, 0, 1]) }; // RTA_PREFSRC
        message.attribute(4, &INDEX.to_le_bytes()).finish() // RTA_OIF
    }

    /// All of what is asked for, and the end of it.
    fn dump(&self) -> Vec<Vec<u8>> {
        let family = self.body().first().copied().unwrap_or(AF_UNSPEC);
        let wants = |of: u8| family == AF_UNSPEC || family == of;
        let mut all = Vec::new();
        match self.kind {
            RTM_GETLINK => all.push(self.link(NLM_F_MULTI)),
            RTM_GETADDR => {
                if wants(AF_INET) {
                    all.push(self.address(NLM_F_MULTI, false));
                }
                if wants(AF_INET6) {
                    all.push(self.address(NLM_F_MULTI, true));
                }
            }
            RTM_GETROUTE => {
                if wants(AF_INET) {
                    all.push(self.route(NLM_F_MULTI, &[127, 0, 0, 0], 8));
                    all.push(self.route(NLM_F_MULTI, &[127, 0, 0, 1], 32));
                }
                if wants(AF_INET6) {
                    all.push(self.route(NLM_F_MULTI, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 128));
                }
            }
            // Rules, neighbours and the like: none.
            _ => {}
        }
        // As Linux, all that fits into one datagram, and the end in another.
        let end = self.reply(NLMSG_DONE, NLM_F_MULTI).raw(&0i32.to_le_bytes()).finish();
        let all = all.concat();
        if all.is_empty() { vec![end] } else { vec![all, end] }
    }

    /// The name that a request for a link gives, if any.
    fn link_name(&self) -> Option<&[u8]> {
        let mut rest = self.body().get(16..)?;
        loop {
            let (header, _) = rest.split_first_chunk::<4>()?;
            let [l0, l1, k0, k1] = *header;
            let len = usize::from(u16::from_le_bytes([l0, l1]));
            let data = rest.get(4..len)?;
            if u16::from_le_bytes([k0, k1]) == IFLA_IFNAME {
                return data.split(|b| *b == 0).next();
            }
            rest = rest.get(len.next_multiple_of(4)..)?;
        }
    }

    fn one(&self) -> Result<Vec<u8>, Errno> {
        let body = self.body();
        match self.kind {
            RTM_GETLINK => {
                let index = body.get(4..).and_then(|b| b.first_chunk()).map(|i| u32::from_le_bytes(*i));
                match (index.ok_or(Errno::EINVAL)?, self.link_name()) {
                    (INDEX, _) | (0, Some(b"lo")) => Ok(self.link(0)),
                    (0, None) => Err(Errno::EINVAL),
                    _ => Err(Errno::ENODEV),
                }
            }
            RTM_GETROUTE => {
                let v6 = body.first() == Some(&AF_INET6);
                let data = body.get(12..).unwrap_or_default();
                match data {
                    [8, 0, 1, 0, 127, b, c, d, ..] if !v6 => Ok(self.route(0, &[127, *b, *c, *d], 32)),
                    [20, 0, 1, 0, ip @ ..] if v6 && ip.starts_with(&[0; 15]) && ip.get(15) == Some(&1) => {
                        Ok(self.route(0, ip.get(..16).unwrap_or_default(), 128))
                    }
                    _ => Err(Errno::ENETUNREACH),
                }
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

/// The datagrams that answer a request, which is at least a header.
pub(super) fn answer(whole: &[u8], port: u32, admin: bool) -> Vec<Vec<u8>> {
    let (words, _) = whole.as_chunks::<4>();
    let word = |at: usize| words.get(at).map_or(0, |w| u32::from_le_bytes(*w));
    let (kind, flags) = (word(1) as u16, (word(1) >> 16) as u16);
    let request = Request { kind, flags, sequence: word(2), port, whole };
    if flags & NLM_F_REQUEST == 0 || kind < RTM_BASE {
        return if flags & NLM_F_ACK != 0 { vec![request.error(None)] } else { Vec::new() };
    }
    if kind > RTM_END {
        return vec![request.error(Some(Errno::EOPNOTSUPP))];
    }
    // Of each four kinds, the third asks; the others change something.
    let asks = (kind - RTM_BASE) % 4 == 2;
    if !asks {
        return vec![request.error(Some(if admin { Errno::EOPNOTSUPP } else { Errno::EPERM }))];
    }
    if request.flags & NLM_F_DUMP != 0 {
        return request.dump();
    }
    match request.one() {
        Ok(answer) if flags & NLM_F_ACK != 0 => vec![answer, request.error(None)],
        Ok(answer) => vec![answer],
        Err(errno) => vec![request.error(Some(errno))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: u16, flags: u16, body: &[u8]) -> Vec<Vec<u8>> {
        let request = Message::new(kind, flags, 7, 0).raw(body).finish();
        answer(&request, 42, false)
    }

    fn kind(message: &[u8]) -> u16 {
        u16::from_le_bytes([message[4], message[5]])
    }

    #[test]
    fn dumps_end() {
        for what in [RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, 34] {
            let answers = ask(what, NLM_F_REQUEST | NLM_F_DUMP, &[0; 16]);
            assert_eq!(kind(answers.last().unwrap()), NLMSG_DONE);
        }
        let links = ask(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &[0; 16]);
        assert_eq!(kind(&links[0]), RTM_NEWLINK);
        assert_eq!(u32::from_le_bytes(*links[0].first_chunk().unwrap()) as usize, links[0].len());
    }

    #[test]
    fn changes_are_refused() {
        let error = &ask(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &[0; 16])[0];
        assert_eq!((kind(error), i32::from_le_bytes(*error[16..].first_chunk().unwrap())), (NLMSG_ERROR, -1));
        let error = &ask(0xfff0, NLM_F_REQUEST | NLM_F_ACK, &[])[0];
        assert_eq!(i32::from_le_bytes(*error[16..].first_chunk().unwrap()), -Errno::EOPNOTSUPP.raw());
    }
}
