//! Options of the level `SOL_SOCKET`, which all families share (socket(7)).

use abi::Errno;
use abi::raw::net as n;
use lock::{Mutex, rank};
use std::time::Duration;

/// Linux's `net.core.wmem_default` and `rmem_default`.
const BUFFER_DEFAULT: u32 = 212_992;
/// Linux's `net.core.wmem_max` and `rmem_max`; an option's value is doubled.
const BUFFER_MAX: u32 = 212_992;
const SEND_MIN: u32 = 4608;
const RECEIVE_MIN: u32 = 2304;

/// The values.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Values {
    pub reuse_address: bool,
    pub reuse_port: bool,
    pub keep_alive: bool,
    pub broadcast: bool,
    pub pass_credentials: bool,
    pub timestamp: bool,
    pub oob_inline: bool,
    pub dont_route: bool,
    pub linger: Option<u32>,
    pub priority: i32,
    pub mark: u32,
    pub low_water: i32,
    pub send_buffer: u32,
    pub receive_buffer: u32,
    pub send_timeout: Option<Duration>,
    pub receive_timeout: Option<Duration>,
    /// `SO_ERROR`: told once.
    pub error: Option<Errno>,
    /// The number of its inode, 0 as long as it has none.
    pub inode: u64,
    /// Who made it.
    pub uid: u32,
}

impl Default for Values {
    fn default() -> Values {
        Values {
            reuse_address: false,
            reuse_port: false,
            keep_alive: false,
            broadcast: false,
            pass_credentials: false,
            timestamp: false,
            oob_inline: false,
            dont_route: false,
            linger: None,
            priority: 0,
            mark: 0,
            low_water: 1,
            send_buffer: BUFFER_DEFAULT,
            receive_buffer: BUFFER_DEFAULT,
            send_timeout: None,
            receive_timeout: None,
            error: None,
            inode: 0,
            uid: 0,
        }
    }
}

/// The values with their lock.
pub struct Options(Mutex<Values>);

impl Default for Options {
    fn default() -> Options {
        Options(Mutex::new(rank::LEAF, Values::default()))
    }
}

impl From<Values> for Options {
    fn from(values: Values) -> Options {
        Options(Mutex::new(rank::LEAF, values))
    }
}

/// What a socket that never has a local peer says of it.
///
/// # Errors
/// `ENODATA`, `ENOPROTOOPT`.
pub fn of_no_peer(name: u32) -> Result<Vec<u8>, Errno> {
    match name {
        n::SO_PEERCRED => Ok([0u32, u32::MAX, u32::MAX].map(u32::to_le_bytes).concat()),
        n::SO_PEERGROUPS => Err(Errno::ENODATA),
        _ => Err(Errno::ENOPROTOOPT),
    }
}

/// An `int` option's value.
///
/// # Errors
/// `EINVAL` if it is too short.
pub fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|b| i32::from_le_bytes(*b)).ok_or(Errno::EINVAL)
}

fn timeout(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let (Some(sec), Some(usec)) = (value.first_chunk::<8>(), value.get(8..).and_then(|v| v.first_chunk::<8>())) else {
        return Err(Errno::EINVAL);
    };
    let (sec, usec) = (i64::from_le_bytes(*sec), i64::from_le_bytes(*usec));
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    if sec < 0 {
        // A negative time is no time at all.
        return Ok(Some(Duration::ZERO));
    }
    let time = Duration::new(sec.unsigned_abs(), (usec.unsigned_abs() as u32) * 1000);
    Ok((time > Duration::ZERO).then_some(time))
}

fn show_timeout(time: Option<Duration>) -> Vec<u8> {
    let time = time.unwrap_or_default();
    [time.as_secs().to_le_bytes(), u64::from(time.subsec_micros()).to_le_bytes()].concat()
}

impl Options {
    /// A copy of the values.
    #[must_use]
    pub fn get(&self) -> Values {
        *self.0.lock()
    }

    /// Notes an error for `SO_ERROR` and the next call.
    pub fn set_error(&self, errno: Errno) {
        self.0.lock().error = Some(errno);
    }

    /// Notes its inode and owner.
    pub fn set_inode(&self, inode: u64, uid: u32) {
        let mut values = self.0.lock();
        (values.inode, values.uid) = (inode, uid);
    }

    /// Changes the values.
    pub fn update(&self, change: impl FnOnce(&mut Values)) {
        change(&mut self.0.lock());
    }

    /// Takes the pending error.
    #[must_use]
    pub fn take_error(&self) -> Option<Errno> {
        self.0.lock().error.take()
    }

    /// Sets one.
    ///
    /// # Errors
    /// `EINVAL` for a short value, `ENOPROTOOPT` for an unknown option, `EPERM` for `SO_SNDBUFFORCE` and the like without
    /// `CAP_NET_ADMIN`.
    pub fn set(&self, name: u32, value: &[u8], admin: bool) -> Result<(), Errno> {
        let mut v = self.0.lock();
        match name {
            n::SO_RCVTIMEO => v.receive_timeout = timeout(value)?,
            n::SO_SNDTIMEO => v.send_timeout = timeout(value)?,
            n::SO_LINGER => {
                let seconds = int(value.get(4..).unwrap_or_default())?;
                v.linger = (int(value)? != 0).then_some(seconds.unsigned_abs());
            }
            n::SO_BINDTODEVICE => {}
            n::SO_ATTACH_FILTER | n::SO_DETACH_FILTER | n::SO_LOCK_FILTER => {}
            _ => return set_int(&mut v, name, int(value)?, admin),
        }
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for an unknown option.
    pub fn read(&self, name: u32) -> Result<Vec<u8>, Errno> {
        let mut v = self.0.lock();
        let value = match name {
            n::SO_RCVTIMEO => return Ok(show_timeout(v.receive_timeout)),
            n::SO_SNDTIMEO => return Ok(show_timeout(v.send_timeout)),
            n::SO_LINGER => {
                let on = i32::from(v.linger.is_some());
                let seconds = i32::try_from(v.linger.unwrap_or(0)).unwrap_or(i32::MAX);
                return Ok([on.to_le_bytes(), seconds.to_le_bytes()].concat());
            }
            n::SO_BINDTODEVICE => return Ok(Vec::new()),
            n::SO_REUSEADDR => v.reuse_address.into(),
            n::SO_REUSEPORT => v.reuse_port.into(),
            n::SO_KEEPALIVE => v.keep_alive.into(),
            n::SO_BROADCAST => v.broadcast.into(),
            n::SO_PASSCRED => v.pass_credentials.into(),
            n::SO_TIMESTAMP => v.timestamp.into(),
            n::SO_OOBINLINE => v.oob_inline.into(),
            n::SO_DONTROUTE => v.dont_route.into(),
            n::SO_PRIORITY => v.priority,
            n::SO_MARK => v.mark as i32,
            n::SO_RCVLOWAT => v.low_water,
            n::SO_SNDLOWAT => 1,
            n::SO_SNDBUF => v.send_buffer as i32,
            n::SO_RCVBUF => v.receive_buffer as i32,
            n::SO_ERROR => v.error.take().map_or(0, Errno::raw),
            n::SO_DEBUG | n::SO_NO_CHECK | n::SO_BUSY_POLL | n::SO_INCOMING_CPU => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_le_bytes().to_vec())
    }
}

fn set_int(v: &mut Values, name: u32, value: i32, admin: bool) -> Result<(), Errno> {
    let on = value != 0;
    let buffer = |min: u32| (value.unsigned_abs().min(BUFFER_MAX) * 2).max(min);
    match name {
        n::SO_REUSEADDR => v.reuse_address = on,
        n::SO_REUSEPORT => v.reuse_port = on,
        n::SO_KEEPALIVE => v.keep_alive = on,
        n::SO_BROADCAST => v.broadcast = on,
        n::SO_PASSCRED => v.pass_credentials = on,
        n::SO_TIMESTAMP => v.timestamp = on,
        n::SO_OOBINLINE => v.oob_inline = on,
        n::SO_DONTROUTE => v.dont_route = on,
        n::SO_PRIORITY if admin || (0..=6).contains(&value) => v.priority = value,
        n::SO_MARK if admin => v.mark = value as u32,
        n::SO_PRIORITY | n::SO_MARK => return Err(Errno::EPERM),
        n::SO_RCVLOWAT => v.low_water = value.max(1),
        n::SO_SNDBUF => v.send_buffer = buffer(SEND_MIN),
        n::SO_RCVBUF => v.receive_buffer = buffer(RECEIVE_MIN),
        n::SO_SNDBUFFORCE | n::SO_RCVBUFFORCE if !admin => return Err(Errno::EPERM),
        n::SO_SNDBUFFORCE => v.send_buffer = buffer(SEND_MIN),
        n::SO_RCVBUFFORCE => v.receive_buffer = buffer(RECEIVE_MIN),
        n::SO_DEBUG | n::SO_NO_CHECK | n::SO_BUSY_POLL | n::SO_INCOMING_CPU => {}
        // Read-only ones.
        n::SO_TYPE | n::SO_ERROR | n::SO_ACCEPTCONN | n::SO_DOMAIN | n::SO_PROTOCOL | n::SO_SNDLOWAT => {
            return Err(Errno::ENOPROTOOPT);
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}
