//! Seccomp programs: a small assembler for the kernel's classic BPF.
//!
//! Used by the platform for its stubs' filters. The words a program may read are those of `struct seccomp_data`; jumps
//! go to labels, forward only, and [`Program::finish`] resolves them.

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

impl Instruction {
    /// The instruction as the kernel reads it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let mut out = [0; 8];
        out[..2].copy_from_slice(&self.code.to_ne_bytes());
        out[2] = self.jt;
        out[3] = self.jf;
        out[4..].copy_from_slice(&self.k.to_ne_bytes());
        out
    }
}

/// A word that a program can load.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    /// The system call's number.
    Number,
    /// `AUDIT_ARCH_*`.
    Arch,
    /// The low half of the instruction pointer after the call.
    IpLow,
    /// Its high half.
    IpHigh,
    /// The low half of an argument.
    ArgLow(u8),
    /// The high half of an argument.
    ArgHigh(u8),
}

impl Word {
    fn offset(self) -> u32 {
        match self {
            Word::Number => 0,
            Word::Arch => 4,
            Word::IpLow => 8,
            Word::IpHigh => 12,
            Word::ArgLow(n) => 16 + 8 * u32::from(n),
            Word::ArgHigh(n) => 20 + 8 * u32::from(n),
        }
    }
}

/// A comparison of the accumulator with a constant, or with the index register where it has none.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// Equal.
    Eq(u32),
    /// Greater.
    Gt(u32),
    /// Greater or equal.
    Ge(u32),
    /// Any of these bits is set.
    AnyOf(u32),
    /// Greater than or equal to the index register.
    GeIndex,
}

/// A place in a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

enum Step {
    Plain(Instruction),
    Jump { code: u16, k: u32, to: Label, otherwise: Option<Label> },
    Place(Label),
}

/// A program being written.
#[derive(Default)]
pub struct Program {
    steps: Vec<Step>,
    labels: usize,
}

impl Program {
    /// An empty program.
    #[must_use]
    pub fn new() -> Program {
        Program::default()
    }

    /// A new label, to be placed once.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// The next instruction is where `label` leads.
    pub fn place(&mut self, label: Label) {
        self.steps.push(Step::Place(label));
    }

    fn plain(&mut self, code: u32, k: u32) {
        self.steps.push(Step::Plain(Instruction { code: code as u16, jt: 0, jf: 0, k }));
    }

    /// Loads a word into the accumulator.
    pub fn load(&mut self, word: Word) {
        self.plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, word.offset());
    }

    /// Copies the accumulator to the index register.
    pub fn to_index(&mut self) {
        self.plain(libc::BPF_MISC | libc::BPF_TAX, 0);
    }

    /// Adds the index register to the accumulator.
    pub fn add_index(&mut self) {
        self.plain(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0);
    }

    /// Adds a constant to the accumulator.
    pub fn add(&mut self, k: u32) {
        self.plain(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, k);
    }

    /// Stores the accumulator in scratch memory.
    pub fn store(&mut self, slot: u32) {
        self.plain(libc::BPF_ST, slot);
    }

    /// Loads the accumulator from scratch memory.
    pub fn recall(&mut self, slot: u32) {
        self.plain(libc::BPF_LD | libc::BPF_MEM, slot);
    }

    /// Ends with an action (`SECCOMP_RET_*`).
    pub fn ret(&mut self, action: u32) {
        self.plain(libc::BPF_RET | libc::BPF_K, action);
    }

    /// Goes to a label.
    pub fn goto(&mut self, to: Label) {
        self.steps.push(Step::Jump { code: (libc::BPF_JMP | libc::BPF_JA) as u16, k: 0, to, otherwise: None });
    }

    /// Goes to `to` if the test holds, and on with the next instruction if not.
    pub fn jump_if(&mut self, test: Test, to: Label) {
        let next = self.label();
        self.branch(test, to, next);
        self.place(next);
    }

    /// Goes to `to` unless the test holds.
    pub fn jump_unless(&mut self, test: Test, to: Label) {
        let next = self.label();
        self.branch(test, next, to);
        self.place(next);
    }

    fn branch(&mut self, test: Test, to: Label, otherwise: Label) {
        let (op, k) = match test {
            Test::Eq(k) => (libc::BPF_JEQ | libc::BPF_K, k),
            Test::Gt(k) => (libc::BPF_JGT | libc::BPF_K, k),
            Test::Ge(k) => (libc::BPF_JGE | libc::BPF_K, k),
            Test::AnyOf(k) => (libc::BPF_JSET | libc::BPF_K, k),
            Test::GeIndex => (libc::BPF_JGE | libc::BPF_X, 0),
        };
        self.steps.push(Step::Jump { code: (libc::BPF_JMP | op) as u16, k, to, otherwise: Some(otherwise) });
    }

    /// The instructions, or `None` if a label was never placed, lies behind its jump, or is too far from it.
    #[must_use]
    pub fn finish(&self) -> Option<Vec<Instruction>> {
        let mut places = vec![None; self.labels];
        let mut at = 0usize;
        for step in &self.steps {
            match step {
                Step::Place(label) => *places.get_mut(label.0)? = Some(at),
                _ => at += 1,
            }
        }
        let distance = |from: usize, to: &Label| places.get(to.0).copied().flatten()?.checked_sub(from + 1);
        let mut out = Vec::with_capacity(at);
        for step in &self.steps {
            let here = out.len();
            out.push(match step {
                Step::Place(_) => continue,
                Step::Plain(instruction) => *instruction,
                Step::Jump { code, to, otherwise: None, .. } => {
                    Instruction { code: *code, jt: 0, jf: 0, k: u32::try_from(distance(here, to)?).ok()? }
                }
                Step::Jump { code, k, to, otherwise: Some(otherwise) } => Instruction {
                    code: *code,
                    jt: u8::try_from(distance(here, to)?).ok()?,
                    jf: u8::try_from(distance(here, otherwise)?).ok()?,
                    k: *k,
                },
            });
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_distances() {
        let mut p = Program::new();
        let (allow, trap) = (p.label(), p.label());
        p.load(Word::Number);
        p.jump_if(Test::Eq(1), allow);
        p.jump_unless(Test::Eq(2), trap);
        p.place(allow);
        p.ret(7);
        p.place(trap);
        p.ret(9);
        let code = p.finish().expect("resolves");
        assert_eq!(code.len(), 5);
        assert_eq!((code[1].jt, code[1].jf), (1, 0));
        assert_eq!((code[2].jt, code[2].jf), (0, 1));
    }

    #[test]
    fn backward_jumps_are_refused() {
        let mut p = Program::new();
        let back = p.label();
        p.place(back);
        p.load(Word::Arch);
        p.goto(back);
        assert!(p.finish().is_none());
    }
}
