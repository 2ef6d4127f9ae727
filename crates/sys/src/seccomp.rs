//! Seccomp filters: the few BPF instructions they need, an assembler for forward jumps, and loading.
//!
//! What must stay true: a program is at most 4096 instructions and jumps only forward; loading is the last thing a process does before its exec
//! that needs a capability.

use rustix::io::Errno;

use crate::Error;
use crate::process::last_error;

/// The kernel's bound (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Offset of the system call number in seccomp_data.
pub const NUMBER: u32 = 0;
/// Offset of the architecture in seccomp_data.
pub const ARCHITECTURE: u32 = 4;

/// Offsets of the low and high half of argument `index` (little-endian machines).
pub fn argument_halves(index: u32) -> (u32, u32) {
    let low = 16 + 8 * index;
    (low, low + 4)
}

/// Lets the call through.
pub const ALLOW: u32 = 0x7fff_0000;
/// Kills the whole process.
pub const KILL_PROCESS: u32 = 0x8000_0000;
/// Kills the calling thread.
pub const KILL_THREAD: u32 = 0;
/// Sends SIGSYS.
pub const TRAP: u32 = 0x0003_0000;
/// Lets the call through and logs it.
pub const LOG: u32 = 0x7ffc_0000;
/// Answers the call with this errno.
pub fn errno(number: u16) -> u32 {
    0x0005_0000 | u32::from(number)
}
/// Tells a tracer.
pub fn trace(number: u16) -> u32 {
    0x7ff0_0000 | u32::from(number)
}

/// AUDIT_ARCH_X86_64.
pub const X86_64: u32 = 0xc000_003e;
/// AUDIT_ARCH_I386.
pub const X86: u32 = 0x4000_0003;
/// AUDIT_ARCH_AARCH64.
pub const AARCH64: u32 = 0xc000_00b7;
/// The architecture this binary runs on.
#[cfg(target_arch = "x86_64")]
pub const NATIVE: u32 = X86_64;
/// The architecture this binary runs on.
#[cfg(target_arch = "aarch64")]
pub const NATIVE: u32 = AARCH64;

/// One instruction, as struct sock_filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when true.
    pub if_true: u8,
    /// Instructions to skip when false.
    pub if_false: u8,
    /// Constant.
    pub constant: u32,
}

/// BPF_LD | BPF_W | BPF_ABS.
pub const LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JA.
pub const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K.
pub const IF_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGT | BPF_K.
pub const IF_GREATER: u16 = 0x25;
/// BPF_JMP | BPF_JGE | BPF_K.
pub const IF_AT_LEAST: u16 = 0x35;
/// BPF_ALU | BPF_AND | BPF_K.
pub const AND: u16 = 0x54;
/// BPF_RET | BPF_K.
pub const RETURN: u16 = 0x06;

/// A place in the program that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(usize);

#[derive(Debug, Clone, Copy)]
enum Draft {
    Plain(u16, u32),
    Jump(Label),
    Branch(u16, u32, Label, Label),
    Place(Label),
}

/// Builds a program from instructions and labels; long jumps are made out of short ones where needed.
#[derive(Debug, Default)]
pub struct Assembler {
    drafts: Vec<Draft>,
    labels: usize,
}

impl Assembler {
    /// A new place to jump to.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// Says that `label` is here.
    pub fn place(&mut self, label: Label) {
        self.drafts.push(Draft::Place(label));
    }

    /// Loads the word at `offset` of seccomp_data.
    pub fn load(&mut self, offset: u32) {
        self.drafts.push(Draft::Plain(LOAD, offset));
    }

    /// Keeps only these bits of the loaded word.
    pub fn and(&mut self, mask: u32) {
        self.drafts.push(Draft::Plain(AND, mask));
    }

    /// Ends with this action.
    pub fn finish(&mut self, action: u32) {
        self.drafts.push(Draft::Plain(RETURN, action));
    }

    /// Goes on at `label`.
    pub fn jump(&mut self, label: Label) {
        self.drafts.push(Draft::Jump(label));
    }

    /// Compares the loaded word ([`IF_EQUAL`], [`IF_GREATER`], [`IF_AT_LEAST`]) and goes on at one of two labels.
    pub fn branch(&mut self, code: u16, constant: u32, yes: Label, no: Label) {
        self.drafts.push(Draft::Branch(code, constant, yes, no));
    }

    /// The finished program.
    ///
    /// # Errors
    /// `E2BIG` when too long, `EINVAL` for a label that was never placed or lies behind.
    pub fn assemble(self) -> Result<Vec<Instruction>, Error> {
        let bad = |what: &str, errno| Error::new(format!("assemble seccomp filter: {what}"), errno);
        // Which branches need their far targets reached by an extra jump. Grows until it is stable, so the loop ends.
        let mut wide = vec![false; self.drafts.len()];
        loop {
            let mut places = vec![None; self.labels];
            let mut starts = Vec::with_capacity(self.drafts.len());
            let mut at = 0usize;
            for (index, draft) in self.drafts.iter().enumerate() {
                starts.push(at);
                match draft {
                    Draft::Place(label) => places[label.0] = Some(at),
                    Draft::Branch(..) if wide[index] => at += 3,
                    _ => at += 1,
                }
            }
            if at > MAX_INSTRUCTIONS {
                return Err(bad("too long", Errno::TOOBIG));
            }
            let distance = |from: usize, label: Label| -> Result<usize, Error> {
                places[label.0].and_then(|to| to.checked_sub(from + 1)).ok_or_else(|| bad("label not ahead", Errno::INVAL))
            };
            let mut grown = false;
            let mut program = Vec::with_capacity(at);
            for (index, draft) in self.drafts.iter().enumerate() {
                let here = starts[index];
                match *draft {
                    Draft::Place(_) => {}
                    Draft::Plain(code, constant) => program.push(Instruction { code, if_true: 0, if_false: 0, constant }),
                    Draft::Jump(label) => {
                        program.push(Instruction { code: JUMP, if_true: 0, if_false: 0, constant: distance(here, label)? as u32 });
                    }
                    Draft::Branch(code, constant, yes, no) if wide[index] => {
                        program.push(Instruction { code, if_true: 0, if_false: 1, constant });
                        program.push(Instruction { code: JUMP, if_true: 0, if_false: 0, constant: distance(here + 1, yes)? as u32 });
                        program.push(Instruction { code: JUMP, if_true: 0, if_false: 0, constant: distance(here + 2, no)? as u32 });
                    }
                    Draft::Branch(code, constant, yes, no) => match (u8::try_from(distance(here, yes)?), u8::try_from(distance(here, no)?))
                    {
                        (Ok(if_true), Ok(if_false)) => program.push(Instruction { code, if_true, if_false, constant }),
                        _ => {
                            wide[index] = true;
                            grown = true;
                        }
                    },
                }
            }
            if !grown {
                return Ok(program);
            }
        }
    }
}

/// The program as the bytes of an array of struct sock_filter.
pub fn to_bytes(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend([instruction.if_true, instruction.if_false]);
        bytes.extend_from_slice(&instruction.constant.to_ne_bytes());
    }
    bytes
}

/// Filters every later system call of this thread and its children with a program made by [`to_bytes`].
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN and without no_new_privs; `EINVAL` for a program the kernel refuses.
///
/// # Cost
/// 0.1-0.2 ms for a tree of 130 instructions, 1 ms for a list of 700.
pub fn load(program: &[u8]) -> Result<(), Error> {
    let call = || format!("seccomp(SECCOMP_SET_MODE_FILTER, {} instructions)", program.len() / 8);
    if program.is_empty() || !program.len().is_multiple_of(8) || program.len() / 8 > MAX_INSTRUCTIONS {
        return Err(Error::new(call(), Errno::INVAL));
    }
    // The kernel wants the alignment of sock_filter, which a byte slice does not promise.
    let mut aligned: Vec<u64> = Vec::with_capacity(program.len() / 8);
    for chunk in program.as_chunks::<8>().0 {
        aligned.push(u64::from_ne_bytes(*chunk));
    }
    let filter = libc::sock_fprog { len: aligned.len() as u16, filter: aligned.as_mut_ptr().cast() };
    // SAFETY: `filter` says truly where the instructions are and how many (checked against 4096 above); the kernel copies them during the call.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if answer == 0 { Ok(()) } else { Err(last_error(call())) }
}

/// Runs `program` over one call as the kernel would: the oracle of tests. `data` is number, architecture, arguments.
pub fn interpret(program: &[Instruction], number: u32, architecture: u32, arguments: [u64; 6]) -> Option<u32> {
    let mut words = vec![number, architecture, 0, 0];
    for argument in arguments {
        words.extend([argument as u32, (argument >> 32) as u32]);
    }
    let mut accumulator = 0u32;
    let mut at = 0usize;
    loop {
        let step = program.get(at)?;
        at += 1;
        let chosen = match step.code {
            LOAD => {
                accumulator = *words.get(step.constant as usize / 4)?;
                0
            }
            AND => {
                accumulator &= step.constant;
                0
            }
            JUMP => step.constant as usize,
            RETURN => return Some(step.constant),
            IF_EQUAL => usize::from(if accumulator == step.constant { step.if_true } else { step.if_false }),
            IF_GREATER => usize::from(if accumulator > step.constant { step.if_true } else { step.if_false }),
            IF_AT_LEAST => usize::from(if accumulator >= step.constant { step.if_true } else { step.if_false }),
            _ => return None,
        };
        at += chosen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_branches_are_widened() {
        let mut assembler = Assembler::default();
        let (yes, no) = (assembler.label(), assembler.label());
        assembler.load(NUMBER);
        assembler.branch(IF_EQUAL, 7, yes, no);
        for _ in 0..400 {
            assembler.and(u32::MAX);
        }
        assembler.place(no);
        assembler.finish(ALLOW);
        assembler.place(yes);
        assembler.finish(errno(1));
        let program = assembler.assemble().expect("assembles");
        assert_eq!(interpret(&program, 7, NATIVE, [0; 6]), Some(errno(1)));
        assert_eq!(interpret(&program, 8, NATIVE, [0; 6]), Some(ALLOW));
    }

    #[test]
    fn a_label_never_placed_is_an_error() {
        let mut assembler = Assembler::default();
        let label = assembler.label();
        assembler.jump(label);
        assert!(assembler.assemble().is_err());
    }
}
