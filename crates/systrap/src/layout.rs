//! Where everything is: the stub region in every guest's host process, a stub's shared file, a context's block.
//!
//! The region lies above all guest memory, at the same address in all stubs of a platform:
//!
//! | offset | what | in the stub |
//! |---|---|---|
//! | `TEXT` | stub code, seccomp programs | read, execute |
//! | `COMMAND` | commands to the mapper thread | read |
//! | `RESPONSE` | its answers | read, write |
//! | `SLEEPERS` | those of them that wait in the host, in this address space | read, write |
//! | `WAITERS` | futex waiters, by the page offset of the word | read |
//! | `VDSO` | the host's `[vvar]` and `[vdso]` | as the host has them |
//! | `CONTEXTS` | one block for each guest thread | read, write |
//!
//! Command, response and blocks are pages of one shared file per stub, which the Sentry maps as a whole. A block holds
//! the thread's signal stack, and above it the *head*: the words of the switch protocol.

use core::ops::Range;

/// Guest memory: from Linux's default `mmap_min_addr` up to the lowest place for a stub region.
pub const USER_RANGE: Range<u64> = 0x1_0000..0x7ffe_0000_0000;
/// End of the host's user addresses.
pub const HOST_END: u64 = 0x7fff_ffff_f000;
/// Distance of the places where a stub region can be, and a bound of its size: it never crosses a 4 GiB line.
pub const REGION_STEP: u64 = 0x1000_0000;

pub const TEXT_LEN: usize = 0x4000;
/// In the text: `struct sock_fprog` of the guest threads' filter.
pub const GUEST_FPROG: usize = 0x2000;
/// In the text: `struct sock_fprog` of the mapper's filter.
pub const MAPPER_FPROG: usize = 0x2010;
/// In the text: the guest filter's instructions, up to `MAPPER_PROGRAM`.
pub const GUEST_PROGRAM: usize = 0x2040;
/// In the text: the mapper filter's instructions.
pub const MAPPER_PROGRAM: usize = 0x2800;

pub const COMMAND: usize = 0x4000;
pub const COMMAND_LEN: usize = 0x4000;
pub const RESPONSE: usize = 0x8000;
pub const RESPONSE_LEN: usize = 0x2000;
/// How many threads of this address space wait on private futexes in the host, by the page offset of the word: the response's
/// second page.
pub const SLEEPERS: usize = RESPONSE + 0x1000;
pub const SLEEPERS_LEN: usize = 0x1000;
/// How many tasks of the sandbox wait on futexes, by the page offset of the word. Read-only, the same page in all stubs.
pub const WAITERS: usize = 0xa000;
pub const WAITERS_LEN: usize = 0x1000;
pub const VDSO: usize = 0x1_0000;
pub const VDSO_MAX: usize = 0x4_0000;
pub const CONTEXTS: usize = 0x100_0000;
pub const REGION_LEN: usize = CONTEXTS + MAX_CONTEXTS * BLOCK;

/// Guest threads in one address space.
pub const MAX_CONTEXTS: usize = 4096;
/// Blocks mapped into a stub at once.
pub const CHUNK: usize = 16;
/// Size and alignment of a context's block.
pub const BLOCK: usize = 0x4000;
/// The head's offset in a block; what is below is the signal stack.
pub const HEAD: usize = 0x3c00;

// The shared file.
pub const FILE_RESPONSE: usize = COMMAND_LEN;
pub const FILE_SLEEPERS: usize = FILE_RESPONSE + SLEEPERS - RESPONSE;
pub const FILE_CONTEXTS: usize = 0x8000;
pub const FILE_LEN: usize = FILE_CONTEXTS + MAX_CONTEXTS * BLOCK;

// The command page.
/// Two words with the batch's number. A mapper that is done with an even batch sleeps on the first, else on the second.
pub const CMD_SEQ: usize = 0;
/// Calls in the batch.
pub const CMD_COUNT: usize = 8;
/// Whether the Sentry sleeps until the batch is done.
pub const CMD_WAITS: usize = 12;
/// The Sentry's process id, the parent that a new stub must have.
pub const CMD_PARENT: usize = 16;
/// The calls, `CALL_LEN` bytes each: number, flags, six arguments, entry of a child.
pub const CMD_CALLS: usize = 64;
pub const CALL_LEN: usize = 64;
pub const MAX_CALLS: usize = (COMMAND_LEN - CMD_CALLS) / CALL_LEN;

/// The call may fail: its result is handed back. Without it, failure ends the stub.
pub const CALL_MAY_FAIL: u32 = 1;

// The response page.
/// The last batch done; a hint.
pub const RESP_DONE: usize = 0;
/// The zygote's process id.
pub const RESP_PID: usize = 8;
/// Not zero as long as the process that made the zygote has its memory in common with it.
pub const RESP_COPY: usize = 16;
/// Results, in the order of the calls.
pub const RESP_RESULTS: usize = 64;

// A block's head, relative to it. While guest code runs, its gs base is the head's address, unless the guest has set its
// own. A call from a patched site is handed over in the first cache line.
/// Whose turn it is, `TURN_*`. A futex for both sides.
pub const TURN: usize = 0;
/// The stub sleeps, or is about to.
pub const STUB_WAITS: usize = 4;
/// A handed-over call's number, and its result.
pub const CALL_RAX: usize = 8;
/// Its arguments.
pub const CALL_RDI: usize = 16;
pub const CALL_RSI: usize = 24;
pub const CALL_RDX: usize = 32;
pub const CALL_R10: usize = 40;
pub const CALL_R8: usize = 48;
pub const CALL_R9: usize = 56;
/// The Sentry sleeps, or is about to.
pub const SENTRY_WAITS: usize = 64;
/// How often the stub looks at `TURN` before it sleeps.
pub const SPIN: usize = 68;
/// How often the stub then yields its core before it sleeps.
pub const STUB_PASSES: usize = 96;
/// Whether the thread may wait for private futexes in the host.
pub const DOZES: usize = 100;
/// Ticks that it has waited there. While it waits, since when is taken from it: negative.
pub const SLEPT: usize = 104;
/// Looks at futexes that found nothing in time, in a row; and how many short waits are to pass before the next.
pub const LOOK_FAILS: usize = 112;
pub const LOOK_SKIPS: usize = 116;
/// Since when it has waited there: the counter.
pub const DOZES_SINCE: usize = 120;
pub const FS_BASE: usize = 72;
/// Zero as long as the guest has not set its own.
pub const GS_BASE: usize = 80;
/// The stub's address of the signal frame.
pub const FRAME: usize = 88;

// The head's second half: state of calls that are served in the stub.
/// Call numbers below it may be served in the stub.
pub const SERVE_LIMIT: usize = 512;
/// The thread has been interrupted while it was in the stub's code.
pub const KICK: usize = 516;
/// A signal waits, though it may be blocked: changes of the mask are the kernel's business.
pub const ALERT: usize = 520;
/// How many calls of sched_yield(2) there were.
pub const YIELDS: usize = 524;
/// The thread has been interrupted while it waited with a frame.
pub const HELD: usize = 560;
/// How often a futex wait looks again at a word that holds what is expected, before it comes to the Sentry.
pub const FUTEX_LOOKS: usize = 564;
/// The number of the call that is under way.
pub const NUMBER: usize = 568;
/// Where the stub makes a frame: its address, that of its vector state.
pub const RAISED: usize = 640;
pub const RAISED_VECTOR: usize = 648;
/// What the host says in such a frame of the vector state: magic number and whole size, features, size.
pub const VECTOR_MAGIC: usize = 656;
pub const VECTOR_FEATURES: usize = 664;
pub const VECTOR_SIZE: usize = 672;
/// The core that the thread was on when it last came with a frame; other bits are not ours.
pub const CORE: usize = 680;
pub const CORE_MASK: u32 = 0xfff;
/// The selector whose limit the host has set to that.
pub const CORE_SELECTOR: u32 = 0x7b;
/// How many calls on the thread's own state may yet be served without the Sentry though their sites trap, which it must learn of.
pub const UNSEEN_LEFT: usize = 684;
/// set_robust_list(2)'s head, and set_tid_address(2)'s address.
pub const ROBUST_LIST: usize = 688;
pub const CLEAR_TID: usize = 696;
/// Where the calls came from that have been served so, the last one first: the address of the instruction after, and from bit
/// `UNSEEN_NUMBER` on the call's number.
pub const UNSEEN: usize = 704;
pub const UNSEEN_NUMBER: u32 = 48;
pub const UNSEEN_MAX: u32 = 16;
/// The signal mask.
pub const MASK: usize = 528;
/// Of the call that is under way: where it returns to, the flags, its result.
pub const SAVED_RIP: usize = 536;
pub const SAVED_FLAGS: usize = 544;
pub const RESULT: usize = 552;
/// Who the thread is.
pub const TGID: usize = 576;
pub const TID: usize = 584;
pub const PPID: usize = 592;
pub const PGID: usize = 600;
pub const RUID: usize = 608;
pub const EUID: usize = 616;
pub const RGID: usize = 624;
pub const EGID: usize = 632;

// Values of `TURN`: the Sentry's are even, the stub's odd.
/// The stub has come with a signal frame.
pub const TURN_SENTRY: u32 = 0;
/// The guest may go on.
pub const TURN_GUEST: u32 = 1;
/// The stub has come with a call and nothing else.
pub const TURN_SENTRY_CALL: u32 = 2;
/// The stub is to come again, with a signal frame.
pub const TURN_RAISE: u32 = 3;
/// The stub is to wake the mapper, to leave it the core, and to wait on.
pub const TURN_MAP: u32 = 5;

// `si_code` of the frames that the stub makes, which have the interrupt's number; the host's own are negative.
/// The thread stops behind a call, or in the one that the kernel serves.
pub const CODE_STOP: i32 = 1;
/// It has come with a call.
pub const CODE_CALL: i32 = 2;
/// It has been interrupted while it waited.
pub const CODE_HELD: i32 = 3;

const _: () = assert!(REGION_LEN as u64 <= REGION_STEP && HEAD + UNSEEN + 8 * UNSEEN_MAX as usize <= BLOCK);
const _: () =
    assert!(RESP_RESULTS + 8 * MAX_CALLS <= SLEEPERS - RESPONSE && FILE_RESPONSE + RESPONSE_LEN <= FILE_CONTEXTS);
