//! Network devices by ioctl(2) (netdevice(7)). There is one, the loopback device, and it can't be changed.

use crate::Socket;
use abi::Errno;
use vfs::{Caller, Capability, IoError};

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCGIFMAP: u32 = 0x8970;
/// Every ioctl of network devices that changes something lies here.
const SETTERS: &[u32] = &[0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8923, 0x8924, 0x8943, 0x8971];

/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`.
pub(crate) const FLAGS: u16 = 0x49;
/// The loopback device's largest packet.
pub(crate) const MTU: u32 = 65536;
/// Its number.
pub(crate) const INDEX: u32 = 1;
const NAME_LEN: usize = 16;
/// `sizeof(struct ifreq)`, and of `struct ifconf`.
const REQUEST: usize = 40;
const CONF: usize = 16;
/// `ARPHRD_LOOPBACK`.
pub(crate) const HARDWARE: u16 = 772;

/// `struct sockaddr_in` of an address.
fn inet(address: [u8; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    if let Some(start) = out.first_chunk_mut::<8>() {
        let [a, b, c, d] = address;
        *start = [2, 0, 0, 0, a, b, c, d];
    }
    out
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0))
}

/// The answer to a question on the loopback device: what goes after the name.
fn answer(cmd: u32) -> Option<[u8; 16]> {
    Some(match cmd {
        SIOCGIFFLAGS => padded(&FLAGS.to_le_bytes()),
        SIOCGIFADDR | SIOCGIFDSTADDR => inet([127, 0, 0, 1]),
        SIOCGIFBRDADDR => inet([0; 4]),
        SIOCGIFNETMASK => inet([255, 0, 0, 0]),
        SIOCGIFMETRIC | SIOCGIFMAP => [0; 16],
        SIOCGIFMTU => padded(&MTU.to_le_bytes()),
        SIOCGIFHWADDR => padded(&HARDWARE.to_le_bytes()),
        SIOCGIFINDEX => padded(&INDEX.to_le_bytes()),
        SIOCGIFTXQLEN => padded(&1000u32.to_le_bytes()),
        _ => return None,
    })
}

/// Serves a command on any socket.
///
/// # Errors
/// `ENODEV` for another device, `EPERM`, `EFAULT`, `ENOTTY` for unknown commands.
pub fn ioctl(_: &dyn Socket, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
    if cmd == SIOCGIFCONF {
        return conf(caller, arg);
    }
    let mut request = [0; REQUEST];
    if cmd == SIOCGIFNAME {
        caller.copy_in(arg, &mut request)?;
        let index = request.get(NAME_LEN..).and_then(|r| r.first_chunk()).map_or(0, |i| u32::from_le_bytes(*i));
        if index != INDEX {
            return Err(Errno::ENODEV.into());
        }
        caller.copy_out(arg, &padded::<NAME_LEN>(b"lo"))?;
        return Ok(0);
    }
    if SETTERS.contains(&cmd) {
        caller.copy_in(arg, &mut request)?;
        let admin = caller.creds().capable(Capability::NetAdmin);
        return Err(if admin { Errno::EOPNOTSUPP } else { Errno::EPERM }.into());
    }
    let Some(answer) = answer(cmd) else { return Err(Errno::ENOTTY.into()) };
    caller.copy_in(arg, &mut request)?;
    let name = request.get(..NAME_LEN - 1).unwrap_or_default().split(|b| *b == 0).next();
    if name != Some(b"lo") {
        return Err(Errno::ENODEV.into());
    }
    caller.copy_out(arg.wrapping_add(NAME_LEN as u64), &answer)?;
    Ok(0)
}

/// Lists the devices that have an IPv4 address.
fn conf(caller: &dyn Caller, arg: u64) -> Result<u64, IoError> {
    let mut conf = [0; CONF];
    caller.copy_in(arg, &mut conf)?;
    let word = |at: usize| conf.get(at..).and_then(|c| c.first_chunk()).map_or(0, |w| u64::from_le_bytes(*w));
    let (room, buffer) = (word(0) as u32 as i32, word(8));
    let mut len = REQUEST as i32;
    if buffer != 0 {
        if room >= len {
            let request = [&padded::<NAME_LEN>(b"lo")[..], &inet([127, 0, 0, 1]), &[0; 8]].concat();
            caller.copy_out(buffer, &request)?;
        } else {
            len = 0;
        }
    }
    caller.copy_out(arg, &len.to_le_bytes())?;
    Ok(0)
}
