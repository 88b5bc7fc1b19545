//! ioctl(2): what is the same for all files; the rest goes to the file.

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use kernel::{CurrentTask, Fd, SysResult};
use std::sync::Arc;
use vfs::wait::Events;
use vfs::{FileType, OpenFile, OpenFlags};

/// Serves this call.
pub const TABLE: &[Entry] = &[Entry::new(16, "ioctl", ioctl, &[Arg::Fd, Arg::OneOf(COMMANDS), Arg::Hex])];

macro_rules! commands {
    ($($name:ident $value:literal)*; $($other:ident $number:literal)*) => {
        $(const $name: u32 = $value;)*
        const COMMANDS: &[(u64, &str)] = &[$(($value, stringify!($name)),)* $(($number, stringify!($other))),*];
    };
}

commands! {
    FIGETBSZ 2
    FIONREAD 0x541b
    FIONBIO 0x5421
    FIONCLEX 0x5450
    FIOCLEX 0x5451
    FIOASYNC 0x5452
    FIOQSIZE 0x5460;
    TCGETS 0x5401
    TCSETS 0x5402
    TCSETSW 0x5403
    TCSETSF 0x5404
    TCSBRK 0x5409
    TCXONC 0x540a
    TCFLSH 0x540b
    TIOCEXCL 0x540c
    TIOCSCTTY 0x540e
    TIOCGPGRP 0x540f
    TIOCSPGRP 0x5410
    TIOCOUTQ 0x5411
    TIOCGWINSZ 0x5413
    TIOCSWINSZ 0x5414
    TIOCNOTTY 0x5422
    TIOCGSID 0x5429
    TCGETS2 0x802c542a
    TIOCGPTN 0x80045430
    TIOCSPTLCK 0x40045431
    TIOCGPTPEER 0x5441
}

fn ioctl(t: &mut CurrentTask, a: Args) -> SysResult {
    let (fd, command, arg) = (a.i32(0), a.u32(1), a.u64(2));
    let file = t.fds().get(fd)?;
    match command {
        FIOCLEX => Ok(t.fds().set_cloexec(fd, true).map(|()| 0)?),
        FIONCLEX => Ok(t.fds().set_cloexec(fd, false).map(|()| 0)?),
        FIONBIO => set_flag(t, fd, &file, arg, OpenFlags::NONBLOCK),
        FIOASYNC => set_flag(t, fd, &file, arg, OpenFlags::ASYNC),
        FIOQSIZE => match file.path().dentry.kind() {
            FileType::Regular | FileType::Directory | FileType::Symlink => {
                Ok(user::put(t, arg, &file.attr()?.size).map(|()| 0)?)
            }
            _ => Err(Errno::ENOTTY.into()),
        },
        FIONREAD if file.path().dentry.kind() == FileType::Regular => {
            let offset = *file.offset();
            let left = file.attr()?.size.saturating_sub(offset);
            Ok(user::put(t, arg, &(left as i32)).map(|()| 0)?)
        }
        FIGETBSZ if file.path().dentry.kind() == FileType::Regular => {
            Ok(user::put(t, arg, &(file.attr()?.blksize as i32)).map(|()| 0)?)
        }
        _ => {
            let events = Events::READABLE | Events::WRITABLE;
            t.block_on(file.ops().wait_queue(), events, false, None, || file.ops().ioctl(&file, &*t, command, arg))
        }
    }
}

fn set_flag(t: &CurrentTask, fd: Fd, file: &Arc<OpenFile>, arg: u64, flag: OpenFlags) -> SysResult {
    let on: i32 = user::get(t, arg)?;
    let value = if on != 0 { flag } else { OpenFlags::empty() };
    kernel::async_io::update_flags(t, file, fd, flag, value)?;
    Ok(0)
}
