//! System calls that a container may forbid, or that a file system does not have.
//!
//! # Safety
//!
//! This file is trusted with two calls of prctl(2), one of which hands the kernel a filter program that it reads and copies.
#![allow(unsafe_code)]

/// Which calls are meant: the lower half of an argument tells.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Always,
    #[allow(dead_code)]
    Is(u32, u32),
    #[allow(dead_code)]
    IsAbove(u32, u32),
}

/// Has the kernel refuse a call to this thread, as many containers do.
#[allow(dead_code)]
pub(crate) fn forbid(call: libc::c_long) {
    refuse(call, When::Always, libc::EPERM);
}

/// Has the kernel answer a call of this thread, and of those that it starts, with an error (seccomp(2)).
pub(crate) fn refuse(call: libc::c_long, when: When, os_error: i32) {
    let load = |offset: u32| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    };
    // Goes on if the word that was loaded compares so, else passes `others` steps by.
    let only = |compare: u32, word: u32, others: u8| libc::sock_filter {
        code: (libc::BPF_JMP | compare | libc::BPF_K) as u16,
        jt: 0,
        jf: others,
        k: word,
    };
    let answer =
        |what: u32| libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: what };
    // Arguments of eight bytes stand behind the call's number, the machine and the instruction.
    let argument = |index: u32| load(16 + 8 * index + if cfg!(target_endian = "little") { 0 } else { 4 });
    let refused = answer(libc::SECCOMP_RET_ERRNO | os_error as u32);
    let allowed = answer(libc::SECCOMP_RET_ALLOW);
    let number = |others| only(libc::BPF_JEQ, call as u32, others);
    let mut program = match when {
        When::Always => vec![load(0), number(1), refused, allowed],
        When::Is(index, word) => {
            vec![load(0), number(3), argument(index), only(libc::BPF_JEQ, word, 1), refused, allowed]
        }
        When::IsAbove(index, word) => {
            vec![load(0), number(3), argument(index), only(libc::BPF_JGT, word, 1), refused, allowed]
        }
    };
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes numbers only.
    let no_new = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(no_new, 0);
    // SAFETY: the kernel reads the program, which lives across the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}
