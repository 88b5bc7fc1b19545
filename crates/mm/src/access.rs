//! How the Sentry reaches guest memory: copies, strings, objects, and the words of futexes.
//!
//! All of it obeys the mappings' protection, brings in what is missing and copies before writing to shared pages, just as
//! the guest's own accesses would. A copy that meets a bad page says how far it got.

use crate::change::Changes;
use crate::fault::FaultError;
use crate::prot::{READ, WRITE, allows};
use crate::runs::Memory;
use crate::{MemoryManager, State};
use abi::Errno;
use core::ops::Range;
use host::frames::FrameRange;
use host::guestmem::{Fault, HostRange};
use host::window::Window;
use platform::Access;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Most bytes that are copied without letting others use the memory manager.
const STEP: usize = 256 << 10;

/// What a futex word is called, by all who share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FutexKey {
    /// A word that only one address space has.
    Private {
        /// [`MemoryManager::id`]
        mm: u64,
        /// Its address.
        addr: u64,
    },
    /// A word of a shared file or shared memory.
    Shared {
        /// [`host::mappable::Observers::key`]
        object: u64,
        /// Its offset there.
        offset: u64,
    },
}

/// Bytes of guest memory as the Sentry sees them. Valid while the memory manager is locked or pinned.
pub(crate) enum Piece {
    Frames(HostRange<'static>, FrameRange),
    Vdso(HostRange<'static>),
    View { window: Arc<Window>, offset: usize, len: usize },
}

impl Piece {
    /// The frames that they are in.
    pub fn frames(&self) -> Option<FrameRange> {
        match self {
            Piece::Frames(_, frames) => Some(*frames),
            Piece::Vdso(_) | Piece::View { .. } => None,
        }
    }

    pub fn range(&self) -> HostRange<'_> {
        match self {
            Piece::Frames(range, _) | Piece::Vdso(range) => *range,
            Piece::View { window, offset, len } => window.range().slice(*offset, *len),
        }
    }
}

impl MemoryManager {
    /// The bytes at `addr`, at most `max` of them, as far as they lie together.
    pub(crate) fn piece(
        &self,
        state: &mut State,
        changes: &mut Changes,
        addr: u64,
        want: Access,
        max: usize,
    ) -> Result<Piece, FaultError> {
        if addr >= self.user.end {
            return self.vdso_piece(addr, want, max);
        }
        if let Some(piece) = self.piece_of_run(state, changes, addr, (want, false), max)? {
            return Ok(piece);
        }
        self.ensure(state, changes, addr, want)?;
        self.piece_of_run(state, changes, addr, (want, false), max)?.ok_or(FaultError::UNMAPPED)
    }

    /// The same, or `None` if there is no run, or none that may be used so unless that is `forced`.
    fn piece_of_run(
        &self,
        state: &mut State,
        changes: &mut Changes,
        addr: u64,
        (want, forced): (Access, bool),
        max: usize,
    ) -> Result<Option<Piece>, FaultError> {
        let State { runs, windows, .. } = state;
        let Some((start, run)) = runs.find(addr).filter(|(_, run)| forced || allows(run.access, want)) else {
            return Ok(None);
        };
        let len = (run.end - addr).min(max as u64);
        Ok(Some(match &run.memory {
            Memory::Frames(at) => {
                let from = at + (addr - start);
                let frames = FrameRange { start: from, end: from + len };
                Piece::Frames(self.frames.range(frames), frames)
            }
            Memory::Host(fd, at) | Memory::HostShared(fd, at) => {
                let view = windows.view(&self.views, fd, at + (addr - start), want.write, &mut changes.windows);
                let view = view.map_err(|_| FaultError::BEYOND)?;
                Piece::View { window: view.window, offset: view.offset, len: view.len.min(len as usize) }
            }
        }))
    }

    fn vdso(&self) -> Option<(Range<u64>, HostRange<'static>)> {
        self.space.get()?.vdso()
    }

    fn vdso_piece(&self, addr: u64, want: Access, max: usize) -> Result<Piece, FaultError> {
        let (at, image) = self.vdso().filter(|(at, _)| at.contains(&addr)).ok_or(FaultError::UNMAPPED)?;
        if want.write {
            return Err(FaultError::ACCESS);
        }
        let len = usize::try_from(at.end - addr).unwrap_or(usize::MAX).min(max);
        Ok(Piece::Vdso(image.slice((addr - at.start) as usize, len)))
    }

    /// Whether a range lies where guests may have memory at all (Linux's `access_ok`).
    #[must_use]
    pub fn access_ok(&self, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else { return false };
        end <= self.user.end || self.vdso().is_some_and(|(at, _)| addr >= at.start && end <= at.end)
    }

    /// Calls `each` for the pieces of a range with how many bytes came before.
    fn transfer(
        &self,
        addr: u64,
        len: usize,
        (want, forced): (Access, bool),
        mut each: impl FnMut(HostRange<'_>, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if !self.access_ok(addr, len as u64) {
            return Err(Fault { done: 0 });
        }
        let mut done = 0;
        while done < len {
            let (at, max) = (addr + done as u64, (len - done).min(STEP));
            let step = self.change(|state, changes| {
                let piece = if forced && at < self.user.end {
                    self.ensure_forced(state, changes, at, want.write)
                        .and_then(|()| self.piece_of_run(state, changes, at, (want, true), max))
                        .and_then(|piece| piece.ok_or(FaultError::UNMAPPED))
                } else {
                    self.piece(state, changes, at, want, max)
                };
                let piece = piece.map_err(|_| Fault { done: 0 })?;
                let range = piece.range();
                each(range, done).map(|()| range.len())
            });
            match step {
                Ok(n) => done += n,
                Err(fault) => return Err(Fault { done: done + fault.done }),
            }
        }
        Ok(())
    }

    /// Copies from guest memory.
    ///
    /// # Errors
    /// [`Fault`] (`EFAULT`) with the number of bytes before it.
    pub fn copy_in(&self, addr: u64, dst: &mut [u8]) -> Result<(), Fault> {
        self.transfer(addr, dst.len(), (READ, false), |range, done| {
            range.read(dst.get_mut(done..done + range.len()).unwrap_or_default())
        })
    }

    /// Copies to guest memory.
    ///
    /// # Errors
    /// [`Fault`] (`EFAULT`) with the number of bytes before it.
    pub fn copy_out(&self, addr: u64, src: &[u8]) -> Result<(), Fault> {
        self.transfer(addr, src.len(), (WRITE, false), |range, done| {
            range.write(src.get(done..done + range.len()).unwrap_or_default())
        })
    }

    /// Zeroes guest memory.
    ///
    /// # Errors
    /// [`Fault`] (`EFAULT`) with the number of bytes before it.
    pub fn zero(&self, addr: u64, len: usize) -> Result<(), Fault> {
        self.transfer(addr, len, (WRITE, false), |range, _| range.zero())
    }

    /// Copies from guest memory as a debugger does (`ptrace(2)`, `/proc/PID/mem`): protections don't count.
    ///
    /// # Errors
    /// [`Fault`] (`EFAULT`) with the number of bytes before it.
    pub fn copy_in_forced(&self, addr: u64, dst: &mut [u8]) -> Result<(), Fault> {
        self.transfer(addr, dst.len(), (READ, true), |range, done| {
            range.read(dst.get_mut(done..done + range.len()).unwrap_or_default())
        })
    }

    /// Copies to guest memory as a debugger does: of private mappings to a copy of their own, whatever the protection.
    ///
    /// # Errors
    /// [`Fault`] (`EFAULT`) with the number of bytes before it.
    pub fn copy_out_forced(&self, addr: u64, src: &[u8]) -> Result<(), Fault> {
        self.transfer(addr, src.len(), (WRITE, true), |range, done| {
            range.write(src.get(done..done + range.len()).unwrap_or_default())
        })
    }

    /// Copies a string that ends with a zero byte, which is not part of the result.
    ///
    /// # Errors
    /// `ENAMETOOLONG` if there is none among the first `max` bytes, `EFAULT`.
    pub fn copy_in_cstr(&self, addr: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        let mut buffer = [0; 256];
        while string.len() < max {
            let at = addr.checked_add(string.len() as u64).filter(|at| self.access_ok(*at, 1)).ok_or(Errno::EFAULT)?;
            let below_end = if at < self.user.end { (self.user.end - at) as usize } else { usize::MAX };
            let most = (max - string.len()).min(buffer.len()).min(below_end);
            let got = self.change(|state, changes| {
                let piece = self.piece(state, changes, at, READ, most)?;
                let range = piece.range();
                let into = buffer.get_mut(..range.len()).unwrap_or_default();
                // A fault inside the piece may lie behind the string's end.
                Ok::<_, Errno>(match range.read(into) {
                    Ok(()) => range.len(),
                    Err(fault) => fault.done,
                })
            })?;
            let new = buffer.get(..got).unwrap_or_default();
            if let Some(end) = new.iter().position(|byte| *byte == 0) {
                string.extend_from_slice(new.get(..end).unwrap_or_default());
                return Ok(string);
            }
            if got == 0 {
                return Err(Errno::EFAULT);
            }
            string.extend_from_slice(new);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Copies a structure from guest memory.
    ///
    /// # Errors
    /// `EFAULT`
    pub fn read_obj<T: FromBytes>(&self, addr: u64) -> Result<T, Errno> {
        let mut few = [0; 256];
        if let Some(bytes) = few.get_mut(..size_of::<T>()) {
            self.copy_in(addr, bytes)?;
            return T::read_from_bytes(bytes).map_err(|_| Errno::EFAULT);
        }
        let mut many = vec![0; size_of::<T>()];
        self.copy_in(addr, &mut many)?;
        T::read_from_bytes(&many).map_err(|_| Errno::EFAULT)
    }

    /// Copies a structure to guest memory.
    ///
    /// # Errors
    /// `EFAULT`
    pub fn write_obj<T: IntoBytes + Immutable + ?Sized>(&self, addr: u64, value: &T) -> Result<(), Errno> {
        Ok(self.copy_out(addr, value.as_bytes())?)
    }

    /// Copies `count` structures from guest memory. The caller bounds `count`.
    ///
    /// # Errors
    /// `EFAULT`
    pub fn read_array<T: FromBytes>(&self, addr: u64, count: usize) -> Result<Vec<T>, Errno> {
        let size = size_of::<T>();
        let len = count.checked_mul(size).ok_or(Errno::EFAULT)?;
        if !self.access_ok(addr, len as u64) {
            return Err(Errno::EFAULT);
        }
        let mut bytes = vec![0; len];
        self.copy_in(addr, &mut bytes)?;
        bytes.chunks_exact(size.max(1)).map(|one| T::read_from_bytes(one).map_err(|_| Errno::EFAULT)).collect()
    }

    fn word(
        &self,
        addr: u64,
        want: Access,
        operate: impl FnOnce(HostRange<'_>) -> Result<u32, Fault>,
    ) -> Result<u32, Errno> {
        if !addr.is_multiple_of(4) || !self.access_ok(addr, 4) {
            return Err(Errno::EFAULT);
        }
        self.change(|state, changes| {
            let piece = self.piece(state, changes, addr, want, 4)?;
            Ok(operate(piece.range())?)
        })
    }

    /// Loads an aligned word atomically.
    ///
    /// # Errors
    /// `EFAULT`
    pub fn load_u32(&self, addr: u64) -> Result<u32, Errno> {
        self.word(addr, READ, |at| at.load_u32())
    }

    /// Stores `new` into an aligned word if it is `expected`, and returns what it was.
    ///
    /// # Errors
    /// `EFAULT`
    pub fn compare_exchange_u32(&self, addr: u64, expected: u32, new: u32) -> Result<u32, Errno> {
        self.word(addr, WRITE, |at| at.compare_exchange_u32(expected, new))
    }

    /// Changes an aligned word atomically and returns what it was (`FUTEX_WAKE_OP`).
    ///
    /// # Errors
    /// `EFAULT`
    pub fn update_u32(&self, addr: u64, change: impl Fn(u32) -> u32) -> Result<u32, Errno> {
        self.word(addr, WRITE, |at| at.update_u32(change))
    }

    /// What the futex at `addr` is called; `private` as by `FUTEX_PRIVATE_FLAG`.
    ///
    /// # Errors
    /// `EINVAL` if not aligned, `EFAULT`.
    pub fn futex_key(&self, addr: u64, private: bool) -> Result<FutexKey, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if !self.access_ok(addr, 4) {
            return Err(Errno::EFAULT);
        }
        let own = FutexKey::Private { mm: self.id, addr };
        if private {
            return Ok(own);
        }
        self.change(|state, changes| {
            self.ensure(state, changes, addr, READ)?;
            let (start, vma) = state.vmas.find(addr).ok_or(Errno::EFAULT)?;
            match vma.file.as_ref().filter(|_| vma.shared()) {
                Some(file) => {
                    Ok(FutexKey::Shared { object: file.object.observers().key(), offset: vma.offset_at(start, addr) })
                }
                None => Ok(own),
            }
        })
    }
}
