//! Steadfast for C: `include/steadfast.h`, libsteadfast.so and libsteadfast.a.
//!
//! Every function here does three things: it takes what C gave it apart ([`given`]), calls the Rust library, and leaves behind
//! what C is told of an error ([`failure`]). What a call promises is said once, in its docs, from which the header is made.
//!
//! | file | what it has for C |
//! |---|---|
//! | `failure` | errno, and the kind and the words of the last error of a thread |
//! | `given` | pointers, strings, ranges and structs as C gives them |
//! | `options` | how mappings and atomic maps are opened |
//! | `address` | the calls by address |
//! | `log` | what is said beside errors |
//! | `mapping`, `residency` | mappings |
//! | `atomic`, `status` | atomic maps |
//! | `ticket` | what goes on while the program does other things |
//! | `recovery` | files without opening them |

#![warn(clippy::unwrap_used)]
#![allow(
    clippy::missing_safety_doc,
    reason = "what every call asks of its caller is the same, and stands at the head of the header"
)]

pub mod address;
pub mod atomic;
pub mod failure;
pub mod given;
pub mod log;
pub mod mapping;
pub mod options;
pub mod recovery;
pub mod residency;
pub mod status;
pub mod ticket;

// "Every call may be made from any thread": what the handles lead to may.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<mapping::MappingHandle>();
    is_send_and_sync::<atomic::AtomicHandle>();
    is_send_and_sync::<ticket::Ticket>();
};
