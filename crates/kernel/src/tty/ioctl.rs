//! ioctl(2) on both sides of a terminal (ioctl_tty(2)).

use super::{State, Tty};
use crate::task::CurrentTask;
use abi::Errno;
use abi::raw::general as c;
use abi::raw::ioctl as n;
use abi::signal::{SIGINT, SIGQUIT, SIGTSTP, SIGTTOU, SigInfo, code};
use abi::termios::{Termio, Termios, Termios2, Winsize};
use ldisc::{Flow, Queue, Side, When};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::wait::Events;
use vfs::{Caller, Capability, IoError, OpenFile, OpenFlags};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Opens the slave of a master (`TIOCGPTPEER`); devpts's.
pub trait Opener {
    /// A new descriptor of the slave, in the caller's table.
    ///
    /// # Errors
    /// Those of open(2).
    fn open_peer(&self, task: &CurrentTask, flags: OpenFlags) -> Result<i32, Errno>;
}

fn get<T: FromBytes + IntoBytes>(caller: &dyn Caller, addr: u64) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    caller.copy_in(addr, value.as_mut_bytes())?;
    Ok(value)
}

fn put<T: IntoBytes + Immutable>(caller: &dyn Caller, addr: u64, value: &T) -> Result<u64, IoError> {
    caller.copy_out(addr, value.as_bytes())?;
    Ok(0)
}

/// Settings with the locked ones as they were (`unset_locked_termios`).
fn keep_locked(locked: &Termios, old: &Termios2, mut new: Termios2) -> Termios2 {
    let keep = |new: &mut u32, old: u32, mask: u32| *new = (*new & !mask) | (old & mask);
    keep(&mut new.c_iflag, old.c_iflag, locked.c_iflag);
    keep(&mut new.c_oflag, old.c_oflag, locked.c_oflag);
    keep(&mut new.c_cflag, old.c_cflag, locked.c_cflag);
    keep(&mut new.c_lflag, old.c_lflag, locked.c_lflag);
    if locked.c_line != 0 {
        new.c_line = old.c_line;
    }
    for ((new, old), _) in new.c_cc.iter_mut().zip(old.c_cc).zip(locked.c_cc).filter(|(_, locked)| *locked != 0) {
        *new = old;
    }
    new
}

/// What the line discipline of a side does itself, so that `N_NULL` does not know it.
fn is_of_discipline(cmd: u32) -> bool {
    let settings = [
        n::TCGETS,
        n::TCSETS,
        n::TCSETSW,
        n::TCSETSF,
        TCGETS2,
        TCSETS2,
        TCSETSW2,
        TCSETSF2,
        n::TCGETA,
        n::TCSETA,
        n::TCSETAW,
        n::TCSETAF,
        n::TIOCGLCKTRMIOS,
        n::TIOCSLCKTRMIOS,
        n::TIOCGSOFTCAR,
        n::TIOCSSOFTCAR,
    ];
    settings.contains(&cmd) || matches!(cmd, n::TCFLSH | n::TCXONC | n::FIONREAD | n::TIOCOUTQ)
}

fn exclusive(state: &mut State, side: Side) -> &mut bool {
    match side {
        Side::Slave => &mut state.exclusive,
        Side::Master => &mut state.master_exclusive,
    }
}

const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;
const TCGETS2: u32 = 0x802c_542a;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGDEV: u32 = 0x8004_5432;
const TIOCGPKT: u32 = 0x8004_5438;
const TIOCGPTLCK: u32 = 0x8004_5439;
const TIOCGEXCL: u32 = 0x8004_5440;
const TIOCGPTPEER: u32 = 0x5441;
const TIOCSIG: u32 = 0x4004_5436;

impl Tty {
    /// ioctl(2).
    ///
    /// # Errors
    /// `ENOTTY` for what terminals do not know; see ioctl_tty(2).
    pub fn ioctl(
        self: &Arc<Tty>,
        side: Side,
        file: &OpenFile,
        caller: &dyn Caller,
        cmd: u32,
        arg: u64,
        opener: &dyn Opener,
    ) -> Result<u64, IoError> {
        let task: &CurrentTask = caller.as_any().downcast_ref().ok_or(Errno::ENOTTY)?;
        let null = self.state.lock().ldisc.is_null(side);
        if null && is_of_discipline(cmd) {
            if cmd == n::TCFLSH && matches!(arg, 0 | 2) {
                self.side_call(side, ldisc::LineDiscipline::flush_incoming);
            }
            return Err(Errno::EINVAL.into());
        }
        match cmd {
            n::TCGETS | TCGETS2 | n::TCGETA => self.get_termios(caller, cmd, arg),
            n::TCSETS
            | n::TCSETSW
            | n::TCSETSF
            | TCSETS2
            | TCSETSW2
            | TCSETSF2
            | n::TCSETA
            | n::TCSETAW
            | n::TCSETAF => self.set_termios_from(task, cmd, arg),
            n::TIOCGSOFTCAR | n::TIOCSSOFTCAR => self.soft_carrier(caller, cmd, arg),
            n::TIOCGWINSZ => put(caller, arg, &self.winsize()),
            n::TIOCSWINSZ => {
                self.set_winsize(get::<Winsize>(caller, arg)?);
                Ok(0)
            }
            n::TCFLSH | n::TCXONC | n::TCSBRK | n::TCSBRKP | n::TIOCSBRK | n::TIOCCBRK => {
                self.line_control(task, side, cmd, arg)
            }
            n::FIONREAD => {
                let count = self.side_call(side, |ldisc, side, _| ldisc.fionread(side));
                put(caller, arg, &i32::try_from(count).unwrap_or(i32::MAX))
            }
            n::TIOCOUTQ => put(caller, arg, &0i32),
            n::TIOCSTI => self.fake_input(task, side, arg),
            n::TIOCGETD => {
                let null = self.state.lock().ldisc.is_null(side);
                put(caller, arg, &if null { i32::from(ldisc::N_NULL) } else { 0 })
            }
            n::TIOCSETD => self.set_discipline(task, side, arg),
            n::TIOCEXCL | n::TIOCNXCL => {
                *exclusive(&mut self.state.lock(), side) = cmd == n::TIOCEXCL;
                Ok(0)
            }
            TIOCGEXCL => {
                let is = *exclusive(&mut self.state.lock(), side);
                put(caller, arg, &i32::from(is))
            }
            n::TIOCCONS if side == Side::Master => Err(Errno::EINVAL.into()),
            n::TIOCCONS => {
                if !task.creds().capable(Capability::SysAdmin) {
                    return Err(Errno::EPERM.into());
                }
                if !file.writable() {
                    return Err(Errno::EBADF.into());
                }
                task.kernel.terminals.take_console(self)?;
                Ok(0)
            }
            TIOCGDEV => put(caller, arg, &u32::try_from(self.device()).unwrap_or(u32::MAX)),
            n::TIOCVHANGUP => {
                if !task.creds().capable(Capability::SysAdmin) {
                    return Err(Errno::EPERM.into());
                }
                self.hang_up_side(side);
                Ok(0)
            }
            n::TIOCGLCKTRMIOS => put(caller, arg, &self.state.lock().locked_settings),
            n::TIOCSLCKTRMIOS => {
                if !task.creds().capable(Capability::SysAdmin) {
                    return Err(Errno::EPERM.into());
                }
                let locked = get::<Termios>(caller, arg)?;
                self.state.lock().locked_settings = locked;
                Ok(0)
            }
            TIOCGPTPEER if side == Side::Slave => Err(Errno::EIO.into()),
            n::TIOCSCTTY | n::TIOCNOTTY | n::TIOCGPGRP | n::TIOCSPGRP | n::TIOCGSID => {
                self.job_control(task, side, file, cmd, arg)
            }
            n::TIOCPKT | TIOCGPKT | TIOCGPTN | TIOCSPTLCK | TIOCGPTLCK | TIOCGPTPEER | TIOCSIG
                if side == Side::Master =>
            {
                self.master_only(task, cmd, arg, opener)
            }
            _ if null => Err(Errno::EINVAL.into()),
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    /// `TIOCSETD`: there are `N_TTY` and `N_NULL`. Who waits to read or write on the side is made to try again.
    fn set_discipline(&self, task: &CurrentTask, side: Side, arg: u64) -> Result<u64, IoError> {
        if side == Side::Slave {
            self.check_change(task, SIGTTOU)?;
        }
        let number = get::<i32>(task, arg)?;
        let null = number == i32::from(ldisc::N_NULL);
        if number != 0 && !null {
            return Err(Errno::EINVAL.into());
        }
        self.with(|state, effects| {
            if state.ldisc.is_null(side) != null {
                *state.changes(side) += 1;
            }
            state.ldisc.set_null(side, null, effects);
        });
        self.queue(side).notify_waiters(Events::READABLE | Events::WRITABLE);
        Ok(0)
    }

    fn get_termios(&self, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        let now = *self.state.lock().ldisc.termios();
        match cmd {
            TCGETS2 => put(caller, arg, &now),
            n::TCGETA => put(caller, arg, &now.to_termio()),
            _ => put(caller, arg, &now.to_termios()),
        }
    }

    fn set_termios_from(&self, task: &CurrentTask, cmd: u32, arg: u64) -> Result<u64, IoError> {
        self.check_change(task, SIGTTOU)?;
        let now = *self.state.lock().ldisc.termios();
        let new: Termios2 = match cmd {
            TCSETS2 | TCSETSW2 | TCSETSF2 => get(task, arg)?,
            n::TCSETA | n::TCSETAW | n::TCSETAF => now.with_termio(&get::<Termio>(task, arg)?),
            _ => now.with_termios(&get::<Termios>(task, arg)?),
        };
        let when = match cmd {
            n::TCSETSW | TCSETSW2 | n::TCSETAW => When::Drained,
            n::TCSETSF | TCSETSF2 | n::TCSETAF => When::Flushed,
            _ => When::Now,
        };
        let new = keep_locked(&self.state.lock().locked_settings, &now, new);
        self.side_call(Side::Slave, |ldisc, _, effects| ldisc.set_termios(&new, when, effects));
        Ok(0)
    }

    /// `TIOCGSOFTCAR` and `TIOCSSOFTCAR`: `CLOCAL` by another name.
    fn soft_carrier(&self, caller: &dyn Caller, cmd: u32, arg: u64) -> Result<u64, IoError> {
        let mut termios = *self.state.lock().ldisc.termios();
        if cmd == n::TIOCGSOFTCAR {
            return put(caller, arg, &i32::from(termios.c_cflag & c::CLOCAL != 0));
        }
        let on = get::<i32>(caller, arg)? != 0;
        termios.c_cflag = termios.c_cflag & !c::CLOCAL | if on { c::CLOCAL } else { 0 };
        self.set_termios(&termios);
        Ok(0)
    }

    fn line_control(&self, task: &CurrentTask, side: Side, cmd: u32, arg: u64) -> Result<u64, IoError> {
        // The master is nobody's controlling terminal.
        if side == Side::Slave {
            self.check_change(task, SIGTTOU)?;
        }
        match cmd {
            n::TCFLSH => {
                let queue = match arg {
                    0 => Queue::Input,
                    1 => Queue::Output,
                    2 => Queue::Both,
                    _ => return Err(Errno::EINVAL.into()),
                };
                self.side_call(side, |ldisc, side, effects| ldisc.flush(side, queue, effects));
            }
            n::TCXONC => {
                let flow = match arg {
                    0 => Flow::Stop,
                    1 => Flow::Start,
                    2 => Flow::SendStop,
                    3 => Flow::SendStart,
                    _ => return Err(Errno::EINVAL.into()),
                };
                self.side_call(side, |ldisc, side, effects| ldisc.flow(side, flow, effects));
            }
            // A pty has no line that could break, and nothing that drains slowly.
            _ => {}
        }
        Ok(0)
    }

    /// `TIOCSTI`, which since Linux 6.2 takes privilege unless a setting allows it on one's controlling terminal.
    fn fake_input(&self, task: &CurrentTask, side: Side, arg: u64) -> Result<u64, IoError> {
        if !task.creds().capable(Capability::SysAdmin) {
            if !task.kernel.terminals.legacy_tiocsti.load(Ordering::Relaxed) {
                return Err(Errno::EIO.into());
            }
            if side == Side::Master || !self.controls(task) {
                return Err(Errno::EPERM.into());
            }
        }
        let byte: u8 = get(task, arg)?;
        self.side_call(side, |ldisc, side, effects| ldisc.simulate_input(side, byte, effects));
        Ok(0)
    }

    fn job_control(
        self: &Arc<Tty>,
        task: &CurrentTask,
        side: Side,
        file: &OpenFile,
        cmd: u32,
        arg: u64,
    ) -> Result<u64, IoError> {
        match cmd {
            n::TIOCSCTTY => {
                self.make_controlling(task, arg == 1, file.readable())?;
                return Ok(0);
            }
            n::TIOCNOTTY if side == Side::Slave => {
                self.give_up(task)?;
                return Ok(0);
            }
            n::TIOCSPGRP => {
                self.set_foreground(task, get(task, arg)?)?;
                return Ok(0);
            }
            n::TIOCGPGRP | n::TIOCGSID => {}
            _ => return Err(Errno::ENOTTY.into()),
        }
        if side == Side::Slave && !self.controls(task) {
            return Err(Errno::ENOTTY.into());
        }
        let (session, foreground) = self.control();
        if cmd == n::TIOCGPGRP {
            return put(task, arg, &foreground.unwrap_or(0));
        }
        put(task, arg, &session.ok_or(Errno::ENOTTY)?)
    }

    fn master_only(&self, task: &CurrentTask, cmd: u32, arg: u64, opener: &dyn Opener) -> Result<u64, IoError> {
        match cmd {
            TIOCGPTN => put(task, arg, &self.index),
            TIOCSPTLCK => {
                let locked = get::<i32>(task, arg)? != 0;
                self.set_locked(locked);
                Ok(0)
            }
            TIOCGPTLCK => put(task, arg, &i32::from(self.is_locked())),
            n::TIOCPKT => {
                let on = get::<i32>(task, arg)? != 0;
                self.with(|state, _| state.ldisc.set_packet_mode(on));
                Ok(0)
            }
            TIOCSIG => {
                let signal = arg as u32 as i32;
                if !matches!(signal, SIGINT | SIGQUIT | SIGTSTP) {
                    return Err(Errno::EINVAL.into());
                }
                if let (Some(pgid), Some(kernel)) = (self.control().1, self.kernel.upgrade()) {
                    kernel.signal_process_group(pgid, SigInfo::new(signal, code::SI_KERNEL));
                }
                Ok(0)
            }
            TIOCGPKT => put(task, arg, &i32::from(self.state.lock().ldisc.packet_mode())),
            _ => {
                if self.is_locked() {
                    return Err(Errno::EIO.into());
                }
                let flags = OpenFlags::from_bits_retain(arg as u32);
                if flags.contains(OpenFlags::DIRECT) && !flags.contains(OpenFlags::PATH) {
                    return Err(Errno::EINVAL.into());
                }
                Ok(opener.open_peer(task, flags)? as u64)
            }
        }
    }
}
