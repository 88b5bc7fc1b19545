//! Reading and writing both sides of a terminal.

use super::{SlaveLife, State, Tty};
use crate::task::CurrentTask;
use abi::Errno;
use host::guestmem::HostRange;
use host::io::{Sink, Source};
use ldisc::{Effects, ReadOp, ReadResult, Side};
use std::time::{Duration, Instant};
use vfs::{Caller, IoCx, IoError};

/// Most bytes read in one go.
const READ_MAX: usize = 64 << 10;
/// Bytes written in one go, as Linux's tty layer splits writes.
const WRITE_PIECE: usize = 2048;

/// What a read of the slave keeps between its waits.
struct SlaveRead {
    op: ReadOp,
    buf: Vec<u8>,
    /// The changes of discipline when it began.
    changes: u64,
}

/// What a read of the master keeps.
struct MasterRead {
    changes: u64,
}

fn now(tty: &Tty) -> u64 {
    tty.kernel.upgrade().map_or(0, |k| k.uptime_ns())
}

fn task(caller: &dyn Caller) -> Option<&CurrentTask> {
    caller.as_any().downcast_ref()
}

impl Tty {
    /// A description of the slave is being opened.
    ///
    /// # Errors
    /// `EIO` if it is locked or the master is gone, `EBUSY` if somebody has it for himself.
    pub fn open_slave(&self, privileged: bool) -> Result<SlaveLife, Errno> {
        let mut state = self.state.lock();
        if state.exclusive && !privileged && state.master_open {
            return Err(Errno::EBUSY);
        }
        if state.locked || !state.master_open {
            return Err(Errno::EIO);
        }
        state.slaves += 1;
        state.ldisc.slave_opened();
        Ok(SlaveLife(state.life))
    }

    /// A description of the slave is gone.
    pub fn slave_released(&self) {
        self.with(|state, effects| {
            state.slaves = state.slaves.saturating_sub(1);
            if state.slaves == 0 {
                state.ldisc.slave_closed(effects);
            }
        });
        self.master_queue.notify_waiters(vfs::wait::Events::all());
    }

    /// read(2) on the slave.
    ///
    /// # Errors
    /// `EIO` and would-block.
    pub fn read_slave(&self, life: SlaveLife, io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let begun = io.call.take::<SlaveRead>();
        let alive = if begun.is_some() { !self.is_dead(life) } else { self.serves(life)? };
        if !alive {
            return Ok(0);
        }
        if let Some(task) = task(io.caller) {
            self.check_read(task)?;
        }
        let now = now(self);
        let (mut read, changed) = self.continue_read(begun, dst.remaining().min(READ_MAX), now)?;
        let nonblock = io.nonblock || io.call.must_finish() || changed;
        let result = self.with(|state, effects| state.ldisc.read(&mut read.op, &mut read.buf, nonblock, now, effects));
        match result {
            ReadResult::Done(len) => {
                if len > 0 {
                    Tty::touch(&self.read_at);
                }
                Ok(dst.put(read.buf.get(..len).unwrap_or_default())?)
            }
            ReadResult::WouldBlock => Err(IoError::WouldBlock),
            ReadResult::HungUp if self.is_dead(life) => Ok(0),
            ReadResult::HungUp => Err(Errno::EIO.into()),
            ReadResult::Wait { deadline } => {
                let deadline =
                    deadline.and_then(|at| Instant::now().checked_add(Duration::from_nanos(at.saturating_sub(now))));
                let partial = read.op.filled() > 0;
                io.call.keep(read, deadline, partial);
                Err(IoError::WouldBlock)
            }
        }
    }

    /// The slave's read under way, or a new one, and whether the discipline has changed since it began.
    fn continue_read(&self, begun: Option<SlaveRead>, len: usize, now: u64) -> Result<(SlaveRead, bool), Errno> {
        let state = self.state.lock();
        let changes = state.slave_changes;
        if let Some(read) = begun {
            let changed = read.changes != changes;
            return if changed && read.op.filled() == 0 { Err(Errno::EAGAIN) } else { Ok((read, changed)) };
        }
        Ok((SlaveRead { op: state.ldisc.begin_read(now), buf: vec![0; len], changes }, false))
    }

    /// Whether a slave's description is alive; an error if its discipline, `N_NULL`, neither reads nor writes.
    fn serves(&self, life: SlaveLife) -> Result<bool, Errno> {
        let state = self.state.lock();
        if state.life != life.0 {
            return Ok(false);
        }
        state.check_discipline(Side::Slave).map(|()| true)
    }

    /// Whether a slave's description is of an earlier life, ended by a hangup.
    #[must_use]
    pub fn is_dead(&self, life: SlaveLife) -> bool {
        self.state.lock().life != life.0
    }

    /// Whether the master was hung up.
    #[must_use]
    pub fn is_master_dead(&self) -> bool {
        self.state.lock().master_dead
    }

    /// write(2) on the slave.
    ///
    /// # Errors
    /// `EIO` and would-block.
    pub fn write_slave(&self, life: SlaveLife, io: &IoCx<'_>, src: &mut dyn Source) -> Result<usize, IoError> {
        if !self.serves(life)? {
            return Err(Errno::EIO.into());
        }
        if let Some(task) = task(io.caller) {
            self.check_write(task)?;
        }
        let done = self.write(src, |tty, bytes| {
            tty.with(|state, effects| {
                if state.life != life.0 {
                    return Err(Errno::EIO);
                }
                let taken = state.ldisc.output(bytes, effects)?;
                if taken < bytes.len() && io.nonblock {
                    state.ldisc.write_fell_short(Side::Slave);
                }
                Ok(taken)
            })
        })?;
        if done > 0 {
            Tty::touch(&self.written_at);
        }
        Ok(done)
    }

    /// write(2) on the master: as if typed.
    ///
    /// # Errors
    /// `EIO` and would-block.
    pub fn write_master(&self, nonblock: bool, src: &mut dyn Source) -> Result<usize, IoError> {
        self.state.lock().check_discipline(Side::Master)?;
        self.write(src, |tty, bytes| {
            tty.with(|state, effects| {
                if state.master_dead {
                    return Err(Errno::EIO);
                }
                let taken = state.ldisc.input(bytes, effects);
                if taken < bytes.len() && nonblock {
                    state.ldisc.write_fell_short(Side::Master);
                }
                Ok(taken)
            })
        })
    }

    fn write(
        &self,
        src: &mut dyn Source,
        mut put: impl FnMut(&Tty, &[u8]) -> Result<usize, Errno>,
    ) -> Result<usize, IoError> {
        let mut done = 0;
        let mut buf = [0; WRITE_PIECE];
        while src.remaining() > 0 {
            let mut blocked = false;
            let step = src.drain_with(WRITE_PIECE, &mut |ranges| {
                let len = gather(ranges, &mut buf)?;
                let taken = put(self, buf.get(..len).unwrap_or_default())?;
                blocked = taken < len;
                Ok(taken)
            });
            match step {
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
            if blocked {
                break;
            }
        }
        if done == 0 && src.remaining() > 0 { Err(IoError::WouldBlock) } else { Ok(done) }
    }

    /// read(2) on the master, or a read by the console's relay, which never waits.
    ///
    /// # Errors
    /// `EIO` once the slave is closed, and would-block.
    pub fn read_master(&self, io: Option<&IoCx<'_>>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        let begun = io.and_then(|io| io.call.take::<MasterRead>());
        let mut buf = vec![0; dst.remaining().min(READ_MAX)];
        let result = self.with(|state, effects| {
            if state.master_dead {
                return Ok(ReadResult::Done(0));
            }
            let changes = state.master_changes;
            if begun.is_some_and(|read| read.changes != changes) {
                return Err(Errno::EAGAIN);
            }
            state.check_discipline(Side::Master)?;
            let result = state.ldisc.read_output(&mut buf, effects);
            if let Some(io) = io.filter(|io| !io.nonblock)
                && matches!(result, ReadResult::Wait { .. } | ReadResult::WouldBlock)
            {
                io.call.keep(MasterRead { changes }, None, false);
            }
            Ok(result)
        })?;
        match result {
            ReadResult::Done(len) => Ok(dst.put(buf.get(..len).unwrap_or_default())?),
            ReadResult::HungUp => Err(Errno::EIO.into()),
            ReadResult::Wait { .. } | ReadResult::WouldBlock => Err(IoError::WouldBlock),
        }
    }

    /// Whether a slave may be opened: for `TIOCGPTPEER` and tests.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.state.lock().locked
    }

    /// Runs a call on the line discipline of one side; used by ioctls.
    pub(super) fn side_call<T>(
        &self,
        side: Side,
        call: impl FnOnce(&mut ldisc::LineDiscipline, Side, &mut Effects) -> T,
    ) -> T {
        self.with(|state, effects| call(&mut state.ldisc, side, effects))
    }
}

impl State {
    /// `N_NULL` neither reads nor writes.
    fn check_discipline(&self, side: Side) -> Result<(), Errno> {
        if self.ldisc.is_null(side) { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
    }
}

fn gather(ranges: &[HostRange<'_>], buf: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    for range in ranges {
        let Some(room) = buf.get_mut(done..).filter(|room| !room.is_empty()) else { break };
        let len = room.len().min(range.len());
        range.read(room.get_mut(..len).unwrap_or_default())?;
        done += len;
    }
    Ok(done)
}
