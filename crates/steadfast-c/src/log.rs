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
//!
//! # While memory is frozen
//!
//! The program's function may store to memory that the library has frozen, and wait for itself. So it is called only while nothing is
//! (`posix::call_out`), and lines of those moments are kept (`kept.rs`) for the thread that thaws.
#![allow(unsafe_code)]

mod kept;

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::Write;
use std::sync::{PoisonError, RwLock};

use log::{LevelFilter, Log, Metadata, Record};
use steadfast_rs::{Error, ErrorKind, posix};

use self::kept::Kept;
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

static KEPT: Kept<Line> = Kept::new();

struct Line {
    level: c_int,
    message: CString,
}

impl Line {
    fn new(level: c_int, text: &str) -> Line {
        // It holds no zero any more.
        Line { level, message: CString::new(text.replace(['\n', '\0'], " ")).unwrap_or_default() }
    }

    /// While nothing is frozen.
    fn say(&self) {
        INSIDE.set(true);
        let before = errno();
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sink) = &*sink {
            hand_over(sink, self.level, &self.message);
        }
        drop(sink);
        set_errno(before);
        INSIDE.set(false);
    }
}

fn dropped(count: usize) -> Line {
    Line::new(
        LogLevel::Warn as c_int,
        &format!("{count} more lines were lost: too many came while a file went back to the kernel"),
    )
}

/// Says what was kept, unless somebody is at it, who will not leave anything, or memory is frozen: then whoever thaws says it.
fn say_kept() {
    while !INSIDE.get() && KEPT.is_waiting() {
        match posix::call_out(|| KEPT.each(Line::say, dropped)) {
            Some(true) => {}
            Some(false) | None => return,
        }
    }
}

struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // What is said while a line is handed over by this thread: there is nobody to hand it to.
        if !self.enabled(record.metadata()) || INSIDE.get() {
            return;
        }
        let before = errno();
        let line = Line::new(record.level() as c_int, &record.args().to_string());
        // Not before those that were kept.
        if !KEPT.is_empty() || posix::call_out(|| line.say()).is_none() {
            KEPT.push(line);
            // It may have thawed in between.
            say_kept();
        }
        set_errno(before);
    }

    /// Before the process is ended by the library. What cannot be said any more goes to standard error.
    fn flush(&self) {
        say_kept();
        let to_stderr = |line: &Line| {
            let _ = writeln!(std::io::stderr(), "steadfast: {}", line.message.to_string_lossy());
        };
        KEPT.each(to_stderr, dropped);
    }
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
/// and returns soon. It may store to memory that is mapped by this library, and wait for a thread that does: a line that comes while a file
/// goes back to the kernel, when such stores wait, is kept until they are made. Of many such lines the last may be lost; then a line says
/// how many were. It does not leave by longjmp(3), and an exception that leaves it ends the program. What a child of fork(2) has to say goes
/// to its copy.
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
        posix::after_thaw(say_kept);
        *sink = callback.map(|callback| Sink { callback, context });
        log::set_max_level(filter);
        Ok(())
    })
}

/// Is it what everything is said to?
fn is_ours(lines: &'static Lines) -> bool {
    std::ptr::addr_eq(std::ptr::from_ref(log::logger()), std::ptr::from_ref(lines))
}
