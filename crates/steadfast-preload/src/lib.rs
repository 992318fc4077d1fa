//! For `LD_PRELOAD`: the shared mappings of a program that knows nothing about it keep their promises.
//!
//! Each file here has a group of calls that stand before the C library's, and says what they do. What they stand on is
//! [`steadfast::posix`]. What the environment asks for is in `settings.rs`; who may hold which descriptor in `owned.rs`.
//!
//! # What it does not see
//!
//! - Calls that do not go through the C library's symbols: `syscall(2)`, programs that make system calls themselves (Go), and what the C
//!   library does inside itself, above all `fopen`, `fread`, `fwrite` and `fclose`. A file that is mapped atomically and written with
//!   `stdio` is written behind the image; the next commit finds that out and is refused. `fopen` of a file does not recover it.
//! - `sync_file_range`, `sync` and `syncfs`, which commit nothing; `stat`, which tells the plain file's times; io_uring and AIO.
//! - Programs without a dynamic linker, and those that gain rights by being started: there `LD_PRELOAD` means nothing.
//! - A signal that ends the program, or SIGKILL: what was not committed is lost, all of it at once. So it is after `abort`.
//!
//! A handler of a signal that calls `_exit` commits there, which allocates: where the signal came in the midst of an allocation, it may wait
//! for ever. A handler that interrupts a call of this library passes through to the kernel.

#![warn(clippy::unwrap_used)]

/// Exports a function under each of its names: plain, and for large files, which is the same on 64-bit systems.
macro_rules! exported {
    ([$($name:ident),+] $arguments:tt -> $answer:ty = $body:tt) => {
        $( exported! { @one $name $arguments -> $answer = $body } )+
    };
    (@one $name:ident ($($argument:ident: $type:ty),* $(,)?) -> $answer:ty = $body:tt) => {
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: $type),*) -> $answer $body
    };
}

mod atomic;
mod close;
mod data;
mod ends;
mod inside;
mod length;
mod log;
mod memory;
mod names;
mod open;
mod owned;
mod per_process;
mod plain;
mod ranges;
mod real;
mod settings;
mod start;
