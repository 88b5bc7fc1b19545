//! Signal frames on the guest's stack: `struct rt_sigframe` of x86-64 (`arch/x86/include/uapi/asm/sigcontext.h`).

use crate::SysErr;
use crate::task::CurrentTask;
use abi::Errno;
use abi::signal::{AltStack, SigAction, SigInfo, SigSet, sa};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `struct sigcontext_64`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct rt_sigframe`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Frame {
    /// Where the handler returns to.
    restorer: u64,
    uc_flags: u64,
    uc_link: u64,
    uc_stack: AltStack,
    mcontext: SigContext,
    uc_sigmask: SigSet,
    info: SigInfo,
}

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const UC_FLAGS: u64 = 7;

/// Bytes below the stack pointer that a function may use (the ABI's red zone).
const RED_ZONE: u64 = 128;

const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const SS_AUTODISARM: u32 = 1 << 31;

/// Flags that a guest may set through a frame (`FIX_EFLAGS`).
const EFLAGS_MASK: u64 = 0x0005_4dd5;

/// Largest vector state that is read from a guest's frame.
const FPSTATE_MAX: usize = 16 << 10;

/// User-mode selectors of 64-bit Linux, and that of 32-bit code, to which a program may go by itself.
const USER_CS: u16 = 0x33;
const USER32_CS: u16 = 0x23;
const USER_SS: u16 = 0x2b;

/// The state with the floating-point modes that a handler starts with (`fpu__clear_user_states`), or `None` if it has them
/// already: control word, empty register stack, `mxcsr`. What vector registers hold says nothing to a handler.
fn fresh_modes(state: &[u8]) -> Option<Vec<u8>> {
    const CONTROL: [u8; 5] = [0x7f, 0x03, 0, 0, 0];
    const MXCSR: [u8; 4] = 0x1f80_u32.to_le_bytes();
    let same = |at: usize, want: &[u8]| state.get(at..at + want.len()) == Some(want);
    if state.len() < 32 || (same(0, &CONTROL) && same(24, &MXCSR)) {
        return None;
    }
    let mut fresh = state.to_vec();
    fresh.get_mut(..5)?.copy_from_slice(&CONTROL);
    fresh.get_mut(24..28)?.copy_from_slice(&MXCSR);
    Some(fresh)
}

impl CurrentTask {
    /// Whether the stack pointer is on the alternate stack (`on_sig_stack`).
    #[must_use]
    pub fn on_alt_stack(&self) -> bool {
        let stack = self.alt_stack;
        stack.flags & SS_AUTODISARM == 0
            && self.regs.rsp > stack.sp
            && self.regs.rsp.wrapping_sub(stack.sp) <= stack.size
    }

    /// `ss_flags` as sigaltstack(2) reports them.
    #[must_use]
    pub fn alt_stack_flags(&self) -> u32 {
        if self.alt_stack.size == 0 {
            SS_DISABLE
        } else if self.on_alt_stack() {
            SS_ONSTACK | self.alt_stack.flags
        } else {
            self.alt_stack.flags
        }
    }

    /// Where frames may start, and the lowest address they may use.
    fn frame_top(&self, action: &SigAction) -> (u64, u64) {
        let use_alt = action.flags & sa::ONSTACK != 0 && self.alt_stack.size != 0;
        if use_alt && !self.on_alt_stack() {
            (self.alt_stack.sp.wrapping_add(self.alt_stack.size), self.alt_stack.sp)
        } else if self.alt_stack.size != 0 && self.on_alt_stack() {
            (self.regs.rsp.wrapping_sub(RED_ZONE), self.alt_stack.sp)
        } else {
            (self.regs.rsp.wrapping_sub(RED_ZONE), 0)
        }
    }

    /// Puts a frame on the stack and points the registers at the handler.
    pub(super) fn push_frame(&mut self, action: &SigAction, info: &SigInfo, mask: SigSet) -> Result<(), Errno> {
        if action.flags & sa::RESTORER == 0 {
            return Err(Errno::EFAULT);
        }
        let fpstate = self.context.fpstate();
        let (top, lowest) = self.frame_top(action);
        let fp_at = top.checked_sub(fpstate.len() as u64).ok_or(Errno::EFAULT)? & !63;
        let frame_len = size_of::<Frame>() as u64;
        let at = (fp_at.checked_sub(frame_len).ok_or(Errno::EFAULT)? & !15).checked_sub(8).ok_or(Errno::EFAULT)?;
        if at < lowest {
            return Err(Errno::EFAULT);
        }
        let frame = Frame {
            restorer: action.restorer,
            uc_flags: UC_FLAGS,
            uc_link: 0,
            uc_stack: AltStack { flags: self.alt_stack_flags(), ..self.alt_stack },
            mcontext: self.sigcontext(mask, fp_at, info),
            uc_sigmask: mask,
            info: *info,
        };
        self.mm.copy_out(fp_at, &fpstate)?;
        self.mm.copy_out(at, frame.as_bytes())?;
        if let Some(fresh) = fresh_modes(&fpstate) {
            self.context.set_fpstate(&fresh)?;
        }
        if self.alt_stack.flags & SS_AUTODISARM != 0 {
            self.alt_stack = AltStack { flags: SS_DISABLE, ..AltStack::default() };
        }
        let regs = &mut self.regs;
        regs.rdi = info.signo as u64;
        regs.rsi = at + core::mem::offset_of!(Frame, info) as u64;
        regs.rdx = at + core::mem::offset_of!(Frame, uc_flags) as u64;
        regs.rax = 0;
        regs.rip = action.handler;
        regs.cs = USER_CS.into();
        regs.rsp = at;
        // Direction, resume and trap flags are clear in a handler.
        regs.eflags &= !(0x400 | 0x1_0000 | 0x100);
        Ok(())
    }

    fn sigcontext(&self, mask: SigSet, fpstate: u64, info: &SigInfo) -> SigContext {
        let r = &self.regs;
        let (trapno, err, cr2) = self.fault_details(info);
        SigContext {
            r8: r.r8,
            r9: r.r9,
            r10: r.r10,
            r11: r.r11,
            r12: r.r12,
            r13: r.r13,
            r14: r.r14,
            r15: r.r15,
            rdi: r.rdi,
            rsi: r.rsi,
            rbp: r.rbp,
            rbx: r.rbx,
            rdx: r.rdx,
            rax: r.rax,
            rcx: r.rcx,
            rsp: r.rsp,
            rip: r.rip,
            eflags: r.eflags,
            cs: if r.cs == u64::from(USER32_CS) { USER32_CS } else { USER_CS },
            gs: 0,
            fs: 0,
            ss: USER_SS,
            err,
            trapno,
            oldmask: mask.0,
            cr2,
            fpstate,
            reserved: [0; 8],
        }
    }

    /// rt_sigreturn(2): takes the frame off the stack. Returns what `rax` was.
    ///
    /// # Errors
    /// `EFAULT` for a frame that can't be read; the caller then raises `SIGSEGV`.
    pub fn sigreturn(&mut self) -> Result<u64, SysErr> {
        let at = self.regs.rsp.wrapping_sub(8);
        let mut frame = Frame::new_zeroed();
        self.mm.copy_in(at, frame.as_mut_bytes())?;
        if frame.mcontext.fpstate != 0 {
            let mut state = vec![0; self.context.fpstate().len().min(FPSTATE_MAX)];
            self.mm.copy_in(frame.mcontext.fpstate, &mut state)?;
            self.context.set_fpstate(&state)?;
        }
        let m = &frame.mcontext;
        let r = &mut self.regs;
        (r.r8, r.r9, r.r10, r.r11) = (m.r8, m.r9, m.r10, m.r11);
        (r.r12, r.r13, r.r14, r.r15) = (m.r12, m.r13, m.r14, m.r15);
        (r.rdi, r.rsi, r.rbp, r.rbx) = (m.rdi, m.rsi, m.rbp, m.rbx);
        (r.rdx, r.rax, r.rcx) = (m.rdx, m.rax, m.rcx);
        (r.rsp, r.rip) = (m.rsp, m.rip);
        r.cs = m.cs.into();
        r.eflags = (r.eflags & !EFLAGS_MASK) | (m.eflags & EFLAGS_MASK);
        r.orig_rax = u64::MAX;
        self.set_signal_mask(frame.uc_sigmask);
        // As restore_altstack: errors are ignored, the frame's stack was valid when it was saved.
        let stack = frame.uc_stack;
        let flags = stack.flags & SS_AUTODISARM;
        self.alt_stack = if stack.flags & SS_DISABLE != 0 {
            AltStack { flags: SS_DISABLE, ..AltStack::default() }
        } else {
            AltStack { flags, ..stack }
        };
        Ok(self.regs.rax)
    }
}
