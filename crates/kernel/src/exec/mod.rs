//! Running a program (execve(2)): finding its format, building its memory, and becoming it.
//!
//! [`load`] builds a new memory manager without touching the caller; [`CurrentTask::exec`] is the point of no return.

mod elf;
mod replace;
mod stack;

pub use replace::exec_credentials;

use crate::kernel::Kernel;
use abi::Errno;
use host::io::SliceSink;
use mm::{Layout, MemoryManager};
use platform::{AddressSpace, Context, Registers};
use std::sync::Arc;
use vfs::{CallState, Caller, Credentials, Executable, IoCx, OpenFile};

/// How much of a file decides its format (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;

/// How many interpreters of interpreters a script may have.
const SCRIPT_DEPTH: usize = 5;

/// Longest argument or environment string, in bytes with its zero (`MAX_ARG_STRLEN`).
pub const ARG_LEN_MAX: usize = 128 << 10;

/// Most bytes of arguments and environment together, pointers included, whatever the stack limit.
const ARGS_MAX: u64 = 6 << 20;

/// Opens files for execution: the walk and checks of open(2) with `FMODE_EXEC`.
pub type OpenExec<'a> = dyn FnMut(&[u8]) -> Result<Arc<OpenFile>, Errno> + 'a;

/// A program to be run.
pub struct Program {
    /// The opened file.
    pub file: Arc<OpenFile>,
    /// The path it was called by (`AT_EXECFN`, `$0` of a script).
    pub path: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// It always goes to the same addresses (`personality(ADDR_NO_RANDOMIZE)`), unless it gains privileges.
    pub fixed: bool,
}

/// A program in memory.
pub struct Loaded {
    /// Its memory, which is in no address space yet.
    pub mm: Arc<MemoryManager>,
    /// Its first registers.
    pub regs: Registers,
    /// The file that runs; for a script its interpreter.
    pub exe: Executable,
    /// The command name: the last component of the path it was called by.
    pub name: Vec<u8>,
    /// Whom it runs as.
    pub creds: Credentials,
}

impl Loaded {
    /// Lets its memory be seen in an empty address space.
    pub fn move_in(&self, space: Arc<dyn AddressSpace>) {
        self.mm.move_in(space);
        self.mm.bring_program();
        self.mm.warm(self.regs.rip, self.regs.rsp);
    }

    /// The same, with a thread to run it.
    fn place(&self, space: Arc<dyn AddressSpace>) -> Result<Box<dyn Context>, Errno> {
        self.move_in(space);
        self.mm.address_space()?.new_context()
    }
}

/// Why a program could not be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// execve(2) fails with this.
    Errno(Errno),
    /// The file is of a known format but can't be mapped. Linux finds out when the old program is already gone: the
    /// process dies of `SIGSEGV`.
    Fatal(Errno),
}

impl From<Errno> for LoadError {
    fn from(errno: Errno) -> LoadError {
        LoadError::Errno(errno)
    }
}

/// Reads at an offset, up to the end of the file.
pub(crate) fn read_at(file: &OpenFile, caller: &dyn Caller, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
    let call = CallState::default();
    let io = IoCx { caller, nonblock: true, sync: false, call: &call };
    let mut done = 0;
    while done < buf.len() {
        let mut sink = SliceSink::new(buf.get_mut(done..).unwrap_or_default());
        match file.ops().read_at(&io, offset.saturating_add(done as u64), &mut sink) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) => return Err(error.nonblocking()),
        }
    }
    Ok(done)
}

/// Builds a program's memory. `creds_for` gives the credentials after executing a file.
///
/// # Errors
/// `ENOEXEC` for an unknown format, `E2BIG`, `ELIBBAD`, `ENOMEM`, and what opening interpreters gives.
pub fn load(
    kernel: &Kernel,
    caller: &dyn Caller,
    creds_for: &dyn Fn(&OpenFile) -> Result<Credentials, Errno>,
    limits: &crate::limits::Limits,
    mut program: Program,
    open: &mut OpenExec<'_>,
) -> Result<Loaded, LoadError> {
    let name = program.path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
    let mut head = [0; HEAD];
    let mut depth = 0;
    let head = loop {
        let len = read_at(&program.file, caller, 0, &mut head)?;
        let head = head.get(..len).unwrap_or_default();
        let Some(rest) = head.strip_prefix(b"#!") else { break head.to_vec() };
        depth += 1;
        if depth > SCRIPT_DEPTH {
            return Err(Errno::ELOOP.into());
        }
        follow_script(&mut program, rest, len == HEAD, open)?;
    };
    check_size(&program, limits)?;
    // Of a script, the interpreter's set-user-id bits count.
    let creds = creds_for(&program.file)?;
    let parts = elf::examine(&program.file, caller, &head, open)?;
    let stack_limit = limits.soft(abi::raw::general::RLIMIT_STACK);
    let user = kernel.platform.user_range();
    let fixed = program.fixed && !stack::secure(&creds);
    let layout = Layout::new(&user, stack_limit, || if fixed { 0 } else { random_word() });
    let limits = crate::memory_limits(limits, &creds);
    let mm =
        MemoryManager::new(kernel.frames.clone(), kernel.texts.clone(), kernel.views.clone(), user, layout, limits);
    let image = elf::load(&mm, &kernel.mounts.root(), &program.file, parts, layout).map_err(LoadError::Fatal)?;
    let regs = stack::build(&mm, kernel, &creds, &program, &image).map_err(LoadError::Fatal)?;
    Ok(Loaded { mm, regs, exe: Executable::new(program.file.path().clone())?, name, creds })
}

pub(crate) fn random_word() -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Fills with the host's randomness.
pub(crate) fn random(bytes: &mut [u8]) {
    let mut done = 0;
    while done < bytes.len() {
        let rest = bytes.get_mut(done..).unwrap_or_default();
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(_) => return,
        }
    }
}

/// Turns a script into its interpreter with the script as argument (`fs/binfmt_script.c`).
fn follow_script(program: &mut Program, line: &[u8], cut: bool, open: &mut OpenExec<'_>) -> Result<(), Errno> {
    let end = line.iter().position(|b| *b == b'\n');
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let line = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    let start = line.iter().position(|b| !blank(b)).ok_or(Errno::ENOEXEC)?;
    let line = line.get(start..).unwrap_or_default();
    let stop = line.iter().position(|b| blank(b) || *b == 0);
    if stop.is_none() && end.is_none() && cut {
        // The interpreter's path does not end within the head.
        return Err(Errno::ENOEXEC);
    }
    let interpreter = line.get(..stop.unwrap_or(line.len())).unwrap_or_default().to_vec();
    if interpreter.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    let rest = line.get(interpreter.len()..).unwrap_or_default();
    let rest = rest.split(|b| *b == 0).next().unwrap_or_default();
    let first = rest.iter().position(|b| !blank(b));
    let last = rest.iter().rposition(|b| !blank(b));
    let mut argv = vec![interpreter.clone()];
    if let (Some(first), Some(last)) = (first, last) {
        argv.push(rest.get(first..=last).unwrap_or_default().to_vec());
    }
    argv.push(program.path.clone());
    argv.extend(program.argv.drain(..).skip(1));
    program.argv = argv;
    program.file = open(&interpreter)?;
    program.path = interpreter;
    Ok(())
}

fn check_size(program: &Program, limits: &crate::limits::Limits) -> Result<(), Errno> {
    let limit = (limits.soft(abi::raw::general::RLIMIT_STACK) / 4).clamp(128 << 10, ARGS_MAX);
    let size = |strings: &[Vec<u8>]| strings.iter().map(|s| s.len() as u64 + 1 + 8).sum::<u64>();
    let long = program.argv.iter().chain(&program.envp).any(|s| s.len() >= ARG_LEN_MAX);
    if long || size(&program.argv).saturating_add(size(&program.envp)) > limit {
        return Err(Errno::E2BIG);
    }
    Ok(())
}
