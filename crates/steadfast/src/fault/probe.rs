//! A load whose only purpose is to find out whether the page is there.
//!
//! # Safety
//!
//! This file is trusted with one machine instruction that loads a byte.
#![allow(unsafe_code)]

/// Loads the byte at `address` and forgets it. Where the page cannot be had the guard answers, and has noted it when this
/// returns.
///
/// Others may store there at the same time: an instruction that the compiler knows nothing about is no access of Rust's
/// memory model, as is one by another process.
///
/// # Safety
///
/// The byte is mapped and readable, or its fault is answered by the guard.
#[inline]
pub(crate) unsafe fn touch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads one byte that may be read (contract) into a register that is not used.
    unsafe {
        std::arch::asm!("mov {byte}, byte ptr [{address}]", address = in(reg) address, byte = out(reg_byte) _,
            options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("ldrb {byte:w}, [{address}]", address = in(reg) address, byte = out(reg) _,
            options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    // SAFETY: readable (contract); a volatile load is made once and not left out.
    unsafe {
        std::ptr::read_volatile(address);
    }
}
