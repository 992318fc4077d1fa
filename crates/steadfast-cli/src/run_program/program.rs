//! Whether the dynamic linker will load the library into a program at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::{getgid, getuid};

use super::NOT_RUNNABLE;
use crate::failure::Failure;

/// As many scripts may be each other's interpreters (execve(2)).
const SCRIPTS: usize = 4;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2010;

/// An error where `LD_PRELOAD` would be ignored, or would not work. What cannot be looked at is left to the kernel.
pub(super) fn check(program: &Path, library: &Path) -> Result<(), Failure> {
    let mut program = program.to_owned();
    for _ in 0..SCRIPTS {
        let refuse =
            |reason: String| Err(Failure::Code(NOT_RUNNABLE, format!("run {}: {reason}", program.display())));
        if let Some(reason) = gains_rights(&program) {
            return refuse(format!(
                "{reason}, and the dynamic linker ignores LD_PRELOAD then: its files would not be atomic; run it as the user whose \
                 rights it takes, or run a copy without them"
            ));
        }
        let Ok(kind) = kind_of(&program) else { return Ok(()) };
        match kind {
            Kind::Script(interpreter) => program = interpreter,
            Kind::Static => {
                return refuse(
                    "it is linked statically and has no dynamic linker, which would load the library: its files would not be atomic; \
                     link it dynamically, or use the library's own calls in it"
                        .to_owned(),
                );
            }
            Kind::Dynamic(machine) => {
                return match kind_of(library) {
                    Ok(Kind::Static | Kind::Dynamic(_)) if machine_of(library).ok() != Some(machine) => {
                        refuse(format!(
                            "it is for another kind of processor than {}; build the library for it, and name that with --preload",
                            library.display()
                        ))
                    }
                    Ok(Kind::Static | Kind::Dynamic(_)) => Ok(()),
                    _ => Err(Failure::Failed(format!(
                        "run --preload {}: it is no library; name libsteadfast_preload.so",
                        library.display()
                    ))),
                };
            }
            Kind::Other => return Ok(()),
        }
    }
    Ok(())
}

/// What makes the kernel start a program in secure-execution mode (ld.so(8), getauxval(3), `AT_SECURE`).
fn gains_rights(program: &Path) -> Option<&'static str> {
    let metadata = std::fs::metadata(program).ok()?;
    let mode = metadata.mode();
    if mode & SET_USER != 0 && metadata.uid() != getuid().as_raw() {
        return Some("it runs as another user (set-user-ID)");
    }
    if mode & SET_GROUP == SET_GROUP && metadata.gid() != getgid().as_raw() {
        return Some("it runs as another group (set-group-ID)");
    }
    let has_capabilities = rustix::fs::getxattr(program, "security.capability", &mut [0_u8; 64]).is_ok();
    (has_capabilities && !getuid().is_root()).then_some("it has capabilities of its own (capabilities(7))")
}

/// Class, byte order, machine: as an ELF file has them.
type Machine = [u8; 4];

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Script(PathBuf),
    /// An ELF file without an interpreter.
    Static,
    Dynamic(Machine),
    Other,
}

fn kind_of(path: &Path) -> io::Result<Kind> {
    let file = File::open(path)?;
    let mut start = Vec::new();
    (&file).take(256).read_to_end(&mut start)?;
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let interpreter = line.split(|byte| b" \t".contains(byte)).find(|word| !word.is_empty());
        return Ok(interpreter.map_or(Kind::Other, |name| Kind::Script(OsStr::from_bytes(name).into())));
    }
    let Some(machine) = machine(&start) else { return Ok(Kind::Other) };
    Ok(if has_interpreter(&file, &start)? { Kind::Dynamic(machine) } else { Kind::Static })
}

fn machine_of(path: &Path) -> io::Result<Machine> {
    let mut start = [0; 20];
    File::open(path)?.read_exact(&mut start)?;
    machine(&start).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn machine(start: &[u8]) -> Option<Machine> {
    let &[0x7f, b'E', b'L', b'F', class, order, .., low, high] = start.get(..20)? else { return None };
    Some([class, order, low, high])
}

/// elf(5): a program header of type `PT_INTERP`. Where the file is of another class or byte order than this process it is taken to have
/// one: what is wrong with it is said by who compares.
fn has_interpreter(file: &File, start: &[u8]) -> io::Result<bool> {
    const CLASS_64: u8 = 2;
    const INTERPRETER: u32 = 3;
    let native_order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if start[4] != CLASS_64 || start[5] != native_order {
        return Ok(true);
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let short = |at: usize| {
        start.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(invalid)
    };
    let offset = start.get(32..40).and_then(|eight| eight.try_into().ok()).map(u64::from_ne_bytes);
    let (offset, size, count) = (offset.ok_or_else(invalid)?, short(54)?, short(56)?);
    for index in 0..u64::from(count) {
        let mut kind = [0; 4];
        let at = offset.checked_add(index * u64::from(size)).ok_or_else(invalid)?;
        file.read_exact_at(&mut kind, at)?;
        if u32::from_ne_bytes(kind) == INTERPRETER {
            return Ok(true);
        }
    }
    Ok(false)
}
