//! Where one mapping ends and the next begins: /proc/self/maps (proc_pid_maps(5)).

use std::io;
use std::ops::Range;

/// The mappings that lie in `memory`, in order, each cut to it.
pub(crate) fn mappings(memory: &Range<usize>) -> io::Result<Vec<Range<usize>>> {
    let text = std::fs::read("/proc/self/maps")?;
    let found = String::from_utf8_lossy(&text);
    let found = found.lines().filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        Some(number(start)?.max(memory.start)..number(end)?.min(memory.end))
    });
    Ok(found.filter(|mapping| !mapping.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::region::Region;
    use rustix::mm::{MapFlags, ProtFlags};

    #[test]
    fn neighbours_are_told_apart() {
        let page = crate::sys::page_size();
        let mut region = Region::reserve(4 * page).unwrap();
        region.place_anonymous(page..3 * page, ProtFlags::READ, MapFlags::PRIVATE).unwrap();
        let start = region.as_ptr() as usize;
        let at = |pages: Range<usize>| start + pages.start * page..start + pages.end * page;
        assert_eq!(mappings(&at(0..4)).unwrap(), [at(0..1), at(1..3), at(3..4)]);
        assert_eq!(mappings(&at(2..3)).unwrap(), [at(2..3)]);
    }
}
