//! Debug registers: breakpoints and watchpoints that need no change of the text (Intel SDM vol. 3, chapter 19.2).
//!
//! The processor's own are the host's, and not to be had. So a tracee with points runs by single steps, after each of which
//! its points are looked at: some microseconds an instruction, where a debugger that steps by itself takes some ten times
//! as long. What is written is seen by its change, so writing the same again is not; reads can't be seen, and points for them
//! are refused. System calls don't count, as on a processor.

use super::{TRAP_FLAG, mode};
use crate::signal::ForceHow;
use crate::task::CurrentTask;
use abi::Errno;
use abi::signal::{SIGTRAP, SigInfo, code};
use mm::MemoryManager;

/// Points that there are.
const POINTS: usize = 4;
/// Bits of the status register that are always set.
const STATUS_RESERVED: u64 = 0xffff_0ff0;
/// In the status register: it was a single step.
const STATUS_STEP: u64 = 0x4000;
/// End of user addresses.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// A tracee's debug registers.
#[derive(Clone, Copy, Default)]
pub struct DebugRegisters {
    addresses: [u64; POINTS],
    /// The status, without its fixed bits.
    status: u64,
    control: u64,
}

/// What a point waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Run,
    Written,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Point {
    index: usize,
    kind: Kind,
    addr: u64,
    len: usize,
    /// What is there; nothing where nothing can be read.
    value: Option<[u8; 8]>,
}

/// The points of a tracee that runs.
pub(crate) struct Watch(Vec<Point>);

impl DebugRegisters {
    /// A register's value.
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        match index {
            6 => self.status ^ STATUS_RESERVED,
            7 => self.control,
            _ => self.addresses.get(index).copied().unwrap_or(0),
        }
    }

    /// Sets a register.
    ///
    /// # Errors
    /// `EINVAL` for a point that the processor would not take, `ENOSPC` for one that is not to be had here, `EIO` for no
    /// register.
    pub fn set(&mut self, index: usize, value: u64) -> Result<(), Errno> {
        let mut new = *self;
        match index {
            6 => new.status = value ^ STATUS_RESERVED,
            7 => new.control = value,
            _ => *new.addresses.get_mut(index).ok_or(Errno::EIO)? = value,
        }
        if new.addresses.iter().any(|addr| *addr >= TASK_SIZE) {
            return Err(Errno::EINVAL);
        }
        new.points()?;
        *self = new;
        Ok(())
    }

    /// The points that are on.
    fn points(&self) -> Result<Vec<Point>, Errno> {
        const LENGTHS: [usize; 4] = [1, 2, 8, 4];
        let mut points = Vec::new();
        for (index, addr) in self.addresses.into_iter().enumerate() {
            if self.control >> (2 * index) & 3 == 0 {
                continue;
            }
            let bits = self.control >> (16 + 4 * index);
            let len = LENGTHS.get((bits >> 2 & 3) as usize).copied().unwrap_or(1);
            let kind = match bits & 3 {
                0 if len == 1 => Kind::Run,
                1 => Kind::Written,
                3 => return Err(Errno::ENOSPC),
                _ => return Err(Errno::EINVAL),
            };
            if !addr.is_multiple_of(len as u64) {
                return Err(Errno::EINVAL);
            }
            points.push(Point { index, kind, addr, len, value: None });
        }
        Ok(points)
    }
}

impl Point {
    fn read(&self, mm: &MemoryManager) -> Option<[u8; 8]> {
        let mut value = [0; 8];
        mm.copy_in_forced(self.addr, value.get_mut(..self.len)?).ok()?;
        Some(value)
    }
}

impl Watch {
    /// Looks at all points. Returns those that were met, a bit each.
    fn look(&mut self, mm: &MemoryManager, rip: u64) -> u64 {
        let mut met = 0;
        for point in &mut self.0 {
            let hit = match point.kind {
                Kind::Run => point.addr == rip,
                Kind::Written => {
                    let now = point.read(mm);
                    std::mem::replace(&mut point.value, now) != now
                }
            };
            met |= u64::from(hit) << point.index;
        }
        met
    }
}

impl CurrentTask {
    /// Takes up the points that the tracer has set, on the way out of a stop.
    pub(super) fn take_up_points(&mut self) {
        let debug = {
            let signals = self.group.signals.lock();
            let tracee = signals.threads.get(&self.tid()).and_then(|thread| thread.trace.by.as_ref());
            tracee.map(|tracee| tracee.debug)
        };
        let points = debug.and_then(|debug| debug.points().ok()).filter(|points| !points.is_empty());
        self.watch = points.map(|points| {
            let mut watch = Watch(points);
            watch.look(&self.mm, 0);
            watch
        });
        self.arm_step();
    }

    /// Sets the trap flag, if the next instruction is to be a step.
    pub(super) fn arm_step(&mut self) {
        let wanted = self.watch.is_some() || self.task.trace_mode() & mode::STEP != 0;
        if wanted && self.regs.eflags & TRAP_FLAG == 0 {
            self.stepping = true;
            self.regs.eflags |= TRAP_FLAG;
        }
    }

    /// An instruction has been run with the trap flag set. Returns whether that is all there is to it: then it was the tracer's
    /// flag, and what the tracer is to know has been said.
    pub(crate) fn step_done(&mut self) -> bool {
        if !self.stepping {
            return false;
        }
        let mode = self.task.trace_mode();
        if mode == 0 {
            // Nobody traces it any more.
            self.watch = None;
            self.hide_step();
            return true;
        }
        let met = self.look_at_points();
        let step = mode & mode::STEP != 0;
        if step || met != 0 {
            self.set_debug_status(met | if step { STATUS_STEP } else { 0 });
        }
        if met != 0 && !step {
            self.raise_trap(code::TRAP_HWBKPT);
        }
        !step
    }

    /// A system call has been made: what it wrote does not count, and only what is run next does.
    pub(super) fn pass_points(&mut self) {
        if self.watch.is_none() {
            return;
        }
        self.unfold();
        let here = self.regs.rip;
        let run = |point: &Point| point.kind == Kind::Run && point.addr == here;
        let hits = self.watch.iter().flat_map(|watch| &watch.0).filter(|point| run(point));
        let met = hits.map(|point| 1 << point.index).sum();
        self.look_at_points();
        self.arm_step();
        if met != 0 {
            self.set_debug_status(met);
            self.raise_trap(code::TRAP_HWBKPT);
        }
    }

    fn look_at_points(&mut self) -> u64 {
        let (mm, rip) = (self.mm.clone(), self.regs.rip);
        self.watch.as_mut().map_or(0, |watch| watch.look(&mm, rip))
    }

    pub(super) fn raise_trap(&mut self, code: i32) {
        const TRAP_DEBUG: u64 = 1;
        self.last_fault = (TRAP_DEBUG, 0, 0);
        self.kernel.force_signal(&self.task, SigInfo::fault(SIGTRAP, code, self.regs.rip), ForceHow::Fault);
    }

    fn set_debug_status(&self, status: u64) {
        let mut signals = self.group.signals.lock();
        if let Some(tracee) = signals.threads.get_mut(&self.tid()).and_then(|thread| thread.trace.by.as_mut()) {
            tracee.debug.status = status;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_checked() {
        let mut debug = DebugRegisters::default();
        assert_eq!(debug.set(0, 1 << 63), Err(Errno::EINVAL));
        assert_eq!(debug.set(4, 0), Err(Errno::EIO));
        assert_eq!(debug.set(0, 0x1001), Ok(()));
        assert_eq!(debug.set(7, 1 | 0xd << 16), Err(Errno::EINVAL));
        assert_eq!(debug.set(7, 1 | 3 << 16), Err(Errno::ENOSPC));
        assert_eq!(debug.set(7, 2 | 1 << 16), Ok(()));
        let point = Point { index: 0, kind: Kind::Written, addr: 0x1001, len: 1, value: None };
        assert_eq!(debug.points(), Ok(vec![point]));
        assert_eq!(debug.get(6), STATUS_RESERVED);
    }
}
