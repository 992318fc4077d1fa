//! What the library has to say beside its errors, for a function of the program's.
//!
//! # Safety
//!
//! This file is trusted with calling a function that C gave, with the pointer that C gave with it: the header says what both promise. The
//! call is made from an `extern "C"` function, so that what unwinds out of it ends the program there, and never enters Rust's frames. And
//! with names that C finds functions by.
//!
//! A call to it is made under a lock that many may share; who sets another one takes it alone. So once `sf_set_log` has returned nobody
//! is in the function that was set before, and what its pointer leads to may go.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{PoisonError, RwLock};

use log::{LevelFilter, Log, Metadata, Record};
use steadfast_rs::{Error, ErrorKind};

use crate::failure::{done, errno, set_errno};
use crate::given::nonsense;

/// How much a line of the log matters. Those of a level come with those of the levels before it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// A promise may be broken.
    Error = 1,
    /// Something is not as it was asked for, and no call could tell.
    Warn = 2,
    /// What was done.
    Info = 3,
    /// What a developer of the library wants to know.
    Debug = 4,
}

/// Is told a line of the log: see sf_set_log().
pub type Callback =
    Option<unsafe extern "C-unwind" fn(context: *mut c_void, level: c_int, message: *const c_char)>;

struct Sink {
    callback: unsafe extern "C-unwind" fn(context: *mut c_void, level: c_int, message: *const c_char),
    context: *mut c_void,
}

// SAFETY: the pointer is handed back as it came, and the header asks for a function that any thread may call with it.
unsafe impl Send for Sink {}
// SAFETY: as above, and by several at a time.
unsafe impl Sync for Sink {}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // What is said while a line is handed over by this thread: there is nobody to hand it to.
        if !self.enabled(record.metadata()) || INSIDE.replace(true) {
            return;
        }
        let before = errno();
        let text = record.args().to_string().replace(['\n', '\0'], " ");
        // It holds no zero any more.
        let message = CString::new(text).unwrap_or_default();
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sink) = &*sink {
            hand_over(sink, record.level() as c_int, &message);
        }
        drop(sink);
        INSIDE.set(false);
        set_errno(before);
    }

    fn flush(&self) {}
}

/// What unwinds out of the program's function ends the program here (`extern "C"`).
extern "C" fn hand_over(sink: &Sink, level: c_int, message: &CString) {
    // SAFETY: the program's function and its own pointer; the string lives across the call.
    unsafe { (sink.callback)(sink.context, level, message.as_ptr()) }
}

/// Has a function called for what the library has to say and no error of a call can tell: that a mapping went back to the kernel, that
/// a checkpoint failed and is tried again. `level` is an enum sf_log_level. Until this is called nothing is said.
///
/// `callback` is given `context`, the level (an enum sf_log_level) and a line of text without its end, which is gone when it returns.
/// Calling this again replaces it, and NULL ends it: on return nobody is in the callback that was set before, and nobody will be, so that
/// what its `context` leads to may be freed.
///
/// It is called by whichever thread has something to say, threads of the library too, and by several at a time; errno stays as it is. It may
/// be called in the midst of any call: so it calls no function of this library, takes no lock that is held by somebody who calls one,
/// and returns soon. Nor does it store to memory that is mapped by this library, or wait for a thread that does, by a lock for instance: a
/// line may be said while a file goes back to the kernel, and such stores wait for the end of that. It does not leave by longjmp(3), and an exception that leaves it ends the program. What a child of fork(2) has to say
/// goes to its copy.
///
/// 0; or -1 with
/// EINVAL: no such level.
/// EBUSY: called by the callback itself; or the program is in Rust as well, and logs to something else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sf_set_log(callback: Callback, context: *mut c_void, level: c_int) -> c_int {
    done(|| {
        let refuse = |reason| Err(Error::new(ErrorKind::Busy, "set_log", reason));
        let filter = match level {
            _ if callback.is_none() => LevelFilter::Off,
            level if level == LogLevel::Error as c_int => LevelFilter::Error,
            level if level == LogLevel::Warn as c_int => LevelFilter::Warn,
            level if level == LogLevel::Info as c_int => LevelFilter::Info,
            level if level == LogLevel::Debug as c_int => LevelFilter::Debug,
            _ => return Err(nonsense("set_log", "no such level: see enum sf_log_level")),
        };
        if INSIDE.get() {
            return refuse("the callback cannot replace itself: it is to return first");
        }
        let mut sink = SINK.write().unwrap_or_else(PoisonError::into_inner);
        static LINES: Lines = Lines;
        if log::set_logger(&LINES).is_err() && !is_ours(&LINES) {
            return refuse("this program has a logger already, of Rust's; look there");
        }
        *sink = callback.map(|callback| Sink { callback, context });
        log::set_max_level(filter);
        Ok(())
    })
}

/// Is it what everything is said to?
fn is_ours(lines: &'static Lines) -> bool {
    std::ptr::addr_eq(std::ptr::from_ref(log::logger()), std::ptr::from_ref(lines))
}
