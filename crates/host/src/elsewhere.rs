//! Starting something on another core than the caller's.
//!
//! A new thread or process begins on its maker's core, and waits there until its maker sleeps, although another core may
//! be idle. Work of a fraction of a millisecond is over before the host's scheduler notices.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::io;
use std::sync::{Arc, LazyLock};

/// Where the process may run, asked before any of its threads is moved; a copy of the process inherits the answer.
static ALL: LazyLock<Option<CpuSet>> = LazyLock::new(|| sched_getaffinity(None).ok());

/// The cores that this process may run on, as they were when this was first asked: that must be before any thread is moved.
#[must_use]
pub fn cores() -> Option<&'static CpuSet> {
    ALL.as_ref()
}

/// All cores but the one that the calling thread runs on. `None` if there is no other.
fn others() -> Option<CpuSet> {
    let mut others = *cores()?;
    let here = sched_getcpu();
    if here < CpuSet::MAX_CPU {
        others.unset(here);
    }
    (others.count() > 0).then_some(others)
}

/// Moves a process that was just made to another core, if there is one. It has to call [`anywhere`].
pub fn send(process: i32) {
    if let Some(others) = others() {
        // A host that does not allow it only costs speed.
        let _ = sched_setaffinity(Pid::from_raw(process), &others);
    }
}

/// Lets the calling thread run on all cores again.
pub fn anywhere() {
    if let Some(cores) = cores() {
        let _ = sched_setaffinity(None, cores);
    }
}

/// A thread that began on another core. It is joined when this is dropped.
pub struct Thread<T> {
    thread: Option<libc::pthread_t>,
    result: Arc<Slot<T>>,
}

/// Where the thread leaves its result.
struct Slot<T>(UnsafeCell<Option<T>>);

// SAFETY: written by the thread, and read by others only after it has been joined.
unsafe impl<T: Send> Sync for Slot<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Slot<T> {}

struct Start<T> {
    body: Box<dyn FnOnce() -> T + Send>,
    result: Arc<Slot<T>>,
}

impl<T: Send + 'static> Thread<T> {
    /// Runs `body` in a thread with `stack` bytes of stack. If `body` panics, the process ends.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no more threads.
    pub fn spawn(stack: usize, body: impl FnOnce() -> T + Send + 'static) -> io::Result<Thread<T>> {
        let others = others();
        let result = Arc::new(Slot(UnsafeCell::new(None)));
        let start = Start { body: Box::new(body), result: Arc::clone(&result) };
        let start = Box::into_raw(Box::new(start));
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
        // SAFETY: the attributes are initialised before they are used, and the set is one of the kernel's, of this size.
        // The new thread owns `start`.
        let error = unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack);
            if let Some(others) = &others {
                let set = (&raw const *others).cast();
                libc::pthread_attr_setaffinity_np(attributes.as_mut_ptr(), size_of::<CpuSet>(), set);
            }
            let error = libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run::<T>, start.cast());
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            error
        };
        if error != 0 {
            // SAFETY: no thread was made, so it is still ours.
            drop(unsafe { Box::from_raw(start) });
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: filled, as there was no error.
        Ok(Thread { thread: Some(unsafe { thread.assume_init() }), result })
    }

    /// Waits for its end.
    #[must_use]
    pub fn join(mut self) -> Option<T> {
        self.wait();
        // SAFETY: the thread is gone, and nobody else has the slot.
        unsafe { (*self.result.0.get()).take() }
    }

    /// Lets it go on by itself.
    pub fn detach(mut self) {
        if let Some(thread) = self.thread.take() {
            // SAFETY: one of ours, that will not be joined.
            unsafe { libc::pthread_detach(thread) };
        }
    }
}

impl<T> Thread<T> {
    fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // SAFETY: one of ours, joined once.
            unsafe { libc::pthread_join(thread, core::ptr::null_mut()) };
        }
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        self.wait();
    }
}

extern "C" fn run<T>(start: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` made it for this thread.
    let start = *unsafe { Box::from_raw(start.cast::<Start<T>>()) };
    anywhere();
    let result = (start.body)();
    // SAFETY: nobody touches it before this thread has been joined.
    unsafe { *start.result.0.get() = Some(result) };
    core::ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_and_all_cores_are_left() {
        let before = sched_getaffinity(None).unwrap();
        let thread = Thread::spawn(64 << 10, || (sched_getaffinity(None).unwrap(), 7)).unwrap();
        assert_eq!(thread.join(), Some((before, 7)));
    }
}
