//! The heap: the C library's. That of the Sentry is brought in by the run.
//!
//! A page that is touched for the first time costs a fault of 2 to 5 us. The C library takes 128 KiB at once from the host,
//! so those 32 pages are asked for together, as soon as the first block of them is handed out. This holds for the heap
//! proper only, which is the Sentry's one arena; large blocks are mappings of their own, and may never be used in full.
//! The command needs a few pages only.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::System;

/// Blocks that end further up than this may lie in memory that was not brought in yet.
static BROUGHT_IN: AtomicUsize = AtomicUsize::new(usize::MAX);

const PAGE: usize = abi::PAGE_SIZE as usize;
/// No more than this at once: what the C library takes for an ordinary block.
const MOST: usize = 256 << 10;

/// Sets up the heap of a Sentry, before it has threads.
pub fn of_a_sentry() {
    // SAFETY: settings of the C library's heap. Few threads allocate much; an arena for each would only cost memory, and
    // any but the first grows by the page.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
    }
    BROUGHT_IN.store(0, Ordering::Relaxed);
}

/// The global allocator.
pub struct Heap;

// SAFETY: all blocks are the system allocator's, under its own rules.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's.
        let block = unsafe { System.alloc(layout) };
        let end = block.addr().wrapping_add(layout.size());
        if end > BROUGHT_IN.load(Ordering::Relaxed) {
            bring_in(block.addr(), end);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller's.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Brings in what the heap has grown by, if the block is in the heap. Failure costs no more than faults.
#[cold]
fn bring_in(from: usize, end: usize) {
    // SAFETY: this only asks where the heap ends.
    let top = unsafe { libc::sbrk(0) };
    let old = BROUGHT_IN.load(Ordering::Relaxed);
    let from = from.max(old).next_multiple_of(PAGE);
    if end > top.addr() || top.addr().saturating_sub(from) > MOST || from >= top.addr() {
        return;
    }
    BROUGHT_IN.store(top.addr(), Ordering::Relaxed);
    // SAFETY: this makes pages of the heap present and changes none of their bytes; it fails where nothing is mapped.
    unsafe {
        libc::madvise(top.with_addr(from), top.addr() - from, libc::MADV_POPULATE_WRITE);
    }
}
