//! Memory that the same work needs again and again: new memory comes page by page, at a fault for each, which for a commit of a
//! megabyte takes as long as copying it.

/// More is given back at once.
pub(crate) const KEPT_BYTES_MAX: usize = 4 << 20;
/// As little as this is kept for good.
const SMALL_BYTES_MAX: usize = 128 << 10;
/// After so many uses of less than a quarter of it, it is given back.
const NEEDLESS_MAX: u32 = 256;

/// Bytes that are kept from one use to the next.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// So many uses in a row could have done with much less.
    needless: u32,
}

impl Kept {
    /// For one use. What is in it means nothing.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// After a use of so many bytes of it.
    pub(crate) fn put_back(&mut self, bytes: Vec<u8>, used_bytes: usize) {
        let much = bytes.capacity() > SMALL_BYTES_MAX && used_bytes < bytes.capacity() / 4;
        self.needless = if much { self.needless + 1 } else { 0 };
        if bytes.capacity() <= KEPT_BYTES_MAX && self.needless <= NEEDLESS_MAX {
            self.bytes = bytes;
        } else {
            self.needless = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One use of so many bytes: does it find memory there?
    fn finds(kept: &mut Kept, used_bytes: usize) -> bool {
        let mut bytes = kept.take();
        let found = bytes.capacity() >= used_bytes;
        bytes.clear();
        bytes.resize(used_bytes, 1);
        kept.put_back(bytes, used_bytes);
        found
    }

    #[test]
    fn memory_is_kept_for_those_who_need_it_and_given_back_by_those_who_do_not() {
        let mut kept = Kept::default();
        assert!(!finds(&mut kept, 1 << 20));
        for _ in 0..3 {
            assert!(finds(&mut kept, 1 << 20), "it is kept");
            for _ in 0..NEEDLESS_MAX {
                assert!(finds(&mut kept, 100));
            }
        }
        assert!(finds(&mut kept, 100));
        assert_eq!(kept.take().capacity(), 0, "it is given back");

        assert!(!finds(&mut kept, KEPT_BYTES_MAX + 1));
        assert_eq!(kept.take().capacity(), 0, "so much is not kept");
        assert!(!finds(&mut kept, 1000));
        (0..2 * NEEDLESS_MAX).for_each(|_| assert!(finds(&mut kept, 0), "so little is kept for good"));
    }
}
