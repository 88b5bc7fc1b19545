//! Page faults of guest threads.

use crate::MemoryManager;
use crate::prot::allows;
use abi::Errno;
use abi::raw::general as raw;
use platform::Access;

/// The signal that a fault causes. `si_addr` is the fault's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultError {
    /// `SIGSEGV`, `SIGBUS`, or `SIGKILL` when memory has run out.
    pub signo: i32,
    /// `si_code`
    pub code: i32,
}

impl FaultError {
    /// Nothing is mapped there.
    pub const UNMAPPED: FaultError = FaultError { signo: raw::SIGSEGV as i32, code: raw::SEGV_MAPERR as i32 };
    /// The mapping's protection forbids it.
    pub const ACCESS: FaultError = FaultError { signo: raw::SIGSEGV as i32, code: raw::SEGV_ACCERR as i32 };
    /// The file has no such page.
    pub const BEYOND: FaultError = FaultError { signo: raw::SIGBUS as i32, code: raw::BUS_ADRERR as i32 };
    /// No memory is left (Linux's out-of-memory killer).
    pub const NO_MEMORY: FaultError = FaultError { signo: raw::SIGKILL as i32, code: raw::SI_KERNEL as i32 };

    /// What a failure of the file's means.
    pub(crate) fn of_file(e: Errno) -> FaultError {
        match e {
            Errno::EACCES => FaultError::ACCESS,
            _ => FaultError::BEYOND,
        }
    }
}

impl From<FaultError> for Errno {
    fn from(_: FaultError) -> Errno {
        Errno::EFAULT
    }
}

impl MemoryManager {
    /// Handles a fault that a guest thread met: on success the access can be retried.
    ///
    /// # Errors
    /// The signal to send.
    pub fn handle_fault(&self, addr: u64, access: Access) -> Result<(), FaultError> {
        if !self.user.contains(&addr) {
            // Linux says the same of addresses of its own.
            return Err(FaultError::UNMAPPED);
        }
        let mut want = access;
        want.read |= !(access.write || access.execute);
        self.change_and_patch(|state, changes| {
            if want.execute && self.install_trampolines(state, changes, addr) {
                return Ok(());
            }
            let seen = state.runs.find(addr).is_some_and(|(_, run)| allows(run.installed, want));
            let first = state.vmas.find(addr).is_some_and(|(start, vma)| {
                vma.file.is_some() && state.runs.overlapping(start..vma.end).next().is_none()
            });
            self.ensure(state, changes, addr, want)?;
            if first {
                if self.patch_known(state, changes, addr) {
                    self.install_mapping(state, changes, addr);
                }
                self.bring_siblings(state, changes, addr);
            }
            self.bring_recent(state, changes);
            if seen {
                self.check_file_end(state, addr)?;
                // Mostly another thread was just faster. The second time, what should be there is not.
                let page = addr & !(abi::PAGE_SIZE - 1);
                if core::mem::replace(&mut state.spurious, page) == page {
                    let run = state.runs.find(addr).map(|(start, run)| start..run.end);
                    self.install_run(state, changes, run.unwrap_or_default());
                }
            }
            self.install(state, changes, addr, want);
            self.learn(addr);
            Ok(())
        })
    }

    /// A host file that shrank behind our back leaves pages that are mapped and yet fault.
    fn check_file_end(&self, state: &crate::State, addr: u64) -> Result<(), FaultError> {
        let beyond = state.vmas.find(addr).is_some_and(|(start, vma)| {
            vma.file.as_ref().is_some_and(|file| {
                let size = file.object.size().checked_next_multiple_of(abi::PAGE_SIZE).unwrap_or(u64::MAX);
                vma.offset_at(start, addr) >= size
            })
        });
        if beyond { Err(FaultError::BEYOND) } else { Ok(()) }
    }
}
