//! Programs in C, and in C++, with the library as `cargo build` makes it, shared and static: the examples, the walk over every
//! function, msync(3p) sentence by sentence.
//!
//! What is compiled is compiled with every warning an error, as C11 and as C++17, by each compiler that is there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAMS: [&str; 4] = ["tests/c/handles.c", "tests/c/addresses.c", "tests/c/msync.c", "tests/c/log.c"];
const EXAMPLES: [&str; 4] =
    ["examples/counter.c", "examples/mapped_file.c", "examples/recovery.c", "examples/async_ticket.c"];

/// What a user of the library has after `cargo build -p steadfast-c`.
struct Library {
    folder: PathBuf,
    /// What a program needs besides the static library.
    native: Vec<String>,
}

fn cargo(command: &[&str], compiler: &[&str]) -> Output {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(command)
        .args(["--locked", "--package=steadfast-c", "--lib"])
        .args(compiler)
        .current_dir(PACKAGE)
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo {command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let output = cargo(&["build", "--message-format=json"], &[]);
        let files: Vec<PathBuf> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "steadfast" && message["filenames"].is_array())
            .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
            .filter_map(|name| name.as_str().map(PathBuf::from))
            .collect();
        let shared = files.iter().find(|file| file.ends_with("libsteadfast.so")).expect("libsteadfast.so");
        let folder = shared.parent().unwrap().to_path_buf();
        assert!(files.contains(&folder.join("libsteadfast.a")), "{files:?}");
        let output = cargo(&["rustc", "--crate-type=staticlib"], &["--", "--print=native-static-libs"]);
        let told = String::from_utf8(output.stderr).unwrap();
        let line = told.lines().find_map(|line| line.split_once("native-static-libs: "));
        let native = line.expect(&told).1.split_whitespace().map(str::to_owned).collect();
        Library { folder, native }
    })
}

fn is_there(compiler: &str) -> bool {
    let found = Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("without {compiler}: it is not installed");
    }
    found
}

/// A compiler, and how it is told which language a `.c` file is in.
const LANGUAGES: [(&str, &[&str]); 4] = [
    ("cc", &["-std=c11", "-D_GNU_SOURCE"]),
    ("clang", &["-std=c11", "-D_GNU_SOURCE"]),
    ("c++", &["-x", "c++", "-std=c++17"]),
    ("clang++", &["-x", "c++", "-std=c++17"]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linking {
    Shared,
    Static,
}

/// Compiles `source` and links it, as `program`.
fn build(
    compiler: &str,
    language: &[&str],
    more: &[&str],
    source: &str,
    linking: Linking,
    program: &Path,
) -> Result<(), String> {
    let library = library();
    let mut command = Command::new(compiler);
    command
        .args(language)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"])
        .args(more)
        .arg(format!("-I{PACKAGE}/include"))
        .arg(Path::new(PACKAGE).join(source))
        // From here on it is no source any more.
        .args(if language.contains(&"-x") { &["-x", "none"][..] } else { &[] })
        .arg("-o")
        .arg(program);
    match linking {
        Linking::Shared => {
            let folder = library.folder.display();
            command.args([format!("-L{folder}"), "-lsteadfast".to_owned(), format!("-Wl,-rpath,{folder}")]);
        }
        Linking::Static => {
            command.arg(library.folder.join("libsteadfast.a")).args(&library.native);
        }
    }
    let output = command.output().map_err(|error| format!("{compiler}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{compiler} {source}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Each way to make a program of `source`, each in a folder of its own.
fn each_program(source: &str, mut check: impl FnMut(&Path, &Path)) {
    for (compiler, language) in LANGUAGES {
        if !is_there(compiler) {
            continue;
        }
        for linking in [Linking::Shared, Linking::Static] {
            let folder = folder();
            let program = folder.path().join("program");
            build(compiler, language, &[], source, linking, &program).unwrap();
            println!("{source}, {compiler}, {linking:?}");
            check(&program, folder.path());
        }
    }
}

#[track_caller]
fn run(program: &Path, arguments: &[&OsStr]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_function_with_a_handle_takes_right_and_refuses_wrong_arguments() {
    each_program("tests/c/handles.c", |program, folder| {
        run(program, &[folder.as_os_str()]);
    });
}

#[test]
fn every_call_by_address_takes_right_and_refuses_wrong_arguments() {
    each_program("tests/c/addresses.c", |program, folder| {
        run(program, &[folder.as_os_str()]);
    });
}

#[test]
fn the_log_goes_to_the_programs_function_until_another_one_is_set() {
    each_program("tests/c/log.c", |program, folder| {
        run(program, &[folder.as_os_str(), OsStr::new("sink")]);
    });
}

#[test]
fn what_is_said_while_memory_is_frozen_may_be_answered_by_a_store_there() {
    each_program("tests/c/log.c", |program, folder| {
        run(program, &[folder.as_os_str(), OsStr::new("frozen")]);
    });
}

#[test]
fn the_counter_counts() {
    each_program("examples/counter.c", |program, folder| {
        let file = folder.join("counter.bin");
        for turn in 1..=3 {
            let told = run(program, &[file.as_os_str()]);
            assert!(told.starts_with(&format!("run {turn}, commit ")), "{told}");
        }
        let bytes = fs::read(&file).unwrap();
        assert_eq!((bytes[0], &bytes[64..70]), (3, &b"run 3\0"[..]));
        assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "a plain file is left, and the program");
    });
}

#[test]
fn the_mapped_file_holds_its_line() {
    each_program("examples/mapped_file.c", |program, folder| {
        let file = folder.join("line.txt");
        run(program, &[file.as_os_str(), OsStr::new("hello")]);
        assert!(fs::read(&file).unwrap().starts_with(b"hello\n\0"));
    });
}

#[test]
fn the_tickets_complete_in_order() {
    each_program("examples/async_ticket.c", |program, folder| {
        let file = folder.join("async.bin");
        let told = run(program, &[file.as_os_str()]);
        assert!(told.contains("commit 11 is durable") || told.contains("commit 10 is durable"), "{told}");
        assert_eq!(fs::read(&file).unwrap()[36..40], 10i32.to_ne_bytes());
    });
}

#[test]
fn a_crashed_file_is_recovered() {
    let crashed = folder();
    let crash = crashed.path().join("crashed");
    let (compiler, language) = LANGUAGES[0];
    build(compiler, language, &[], "tests/c/crashed.c", Linking::Shared, &crash).unwrap();
    each_program("examples/recovery.c", |program, folder| {
        let file = folder.join("state.bin");
        let recover = || run(program, &[file.as_os_str()]);
        fs::write(&file, [0; 4096]).unwrap();
        assert_eq!(recover(), "nothing to recover\n");
        run(&crash, &[file.as_os_str()]);
        assert_eq!(recover(), "commit 2, 2 brought into the file\n");
        assert!(fs::read(&file).unwrap().starts_with(b"committed twice\0"));
        assert_eq!(recover(), "nothing to recover\n");
        let map = steadfast_rs::AtomicMapping::options().load(&file).unwrap();
        let told = recover();
        assert!(told.starts_with(&format!("process {} (", std::process::id())), "{told}");
        map.close().unwrap();
    });
}

#[test]
fn the_example_of_the_readme_runs() {
    let readme = source("../../README.md");
    let example = readme.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = folder();
    let whole = folder.path().join("readme.c");
    let includes = "#include <string.h>\n#include <sys/mman.h>\n#include \"steadfast.h\"\n";
    fs::write(&whole, format!("{includes}int main(void) {{\n{example}return 0;\n}}\n")).unwrap();
    let program = folder.path().join("readme");
    let (compiler, language) = LANGUAGES[0];
    build(compiler, language, &[], whole.to_str().unwrap(), Linking::Shared, &program).unwrap();
    let output = Command::new(&program).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(folder.path().join("state.bin")).unwrap().starts_with(b"hello\0"));
}

/// The one program that has all the sentences.
fn msync_program() -> &'static Path {
    static PROGRAM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let made = PROGRAM.get_or_init(|| {
        let folder = folder();
        let program = folder.path().join("msync");
        let (compiler, language) = LANGUAGES[0];
        build(compiler, language, &[], "tests/c/msync.c", Linking::Shared, &program).unwrap();
        (folder, program)
    });
    &made.1
}

/// Runs one function of tests/c/msync.c.
#[track_caller]
fn holds(sentence: &str) {
    let folder = folder();
    run(msync_program(), &[folder.path().as_os_str(), OsStr::new(sentence)]);
}

mod msync {
    use super::holds;

    #[test]
    fn exactly_one_of_ms_async_and_ms_sync_is_given_and_0_is_success() {
        holds("exactly_one_of_ms_async_and_ms_sync_is_given_and_0_is_success");
    }

    #[test]
    fn ms_invalidate_may_join_either() {
        holds("ms_invalidate_may_join_either");
    }

    #[test]
    fn both_or_neither_or_any_other_bit_is_einval() {
        holds("both_or_neither_or_any_other_bit_is_einval");
    }

    #[test]
    fn an_address_that_is_not_on_a_page_boundary_is_einval() {
        holds("an_address_that_is_not_on_a_page_boundary_is_einval");
    }

    #[test]
    fn len_is_rounded_up_to_whole_pages() {
        holds("len_is_rounded_up_to_whole_pages");
    }

    #[test]
    fn an_end_that_overflows_is_enomem() {
        holds("an_end_that_overflows_is_enomem");
    }

    #[test]
    fn a_part_that_is_not_mapped_is_enomem_once_every_mapped_part_is_synced() {
        holds("a_part_that_is_not_mapped_is_enomem_once_every_mapped_part_is_synced");
    }

    #[test]
    fn a_range_may_span_several_mappings_and_some_that_are_not_ours() {
        holds("a_range_may_span_several_mappings_and_some_that_are_not_ours");
    }

    #[test]
    fn ms_sync_is_on_disk_or_one_commit_of_the_range_on_return() {
        holds("ms_sync_is_on_disk_or_one_commit_of_the_range_on_return");
    }

    #[test]
    fn ms_async_starts_the_write_out() {
        holds("ms_async_starts_the_write_out");
    }

    #[test]
    fn a_later_ms_sync_waits_for_ms_async() {
        holds("a_later_ms_sync_waits_for_ms_async");
    }

    #[test]
    fn ms_invalidate_of_locked_pages_is_ebusy() {
        holds("ms_invalidate_of_locked_pages_is_ebusy");
    }

    #[test]
    fn ms_invalidate_lets_the_next_access_read_the_disk() {
        holds("ms_invalidate_lets_the_next_access_read_the_disk");
    }

    #[test]
    fn in_a_child_an_atomic_mapping_commits_nothing_and_says_so() {
        holds("in_a_child_an_atomic_mapping_commits_nothing_and_says_so");
    }
}

/// What tests/c/msync.c can be asked for.
fn sentences() -> BTreeSet<String> {
    let text = source("tests/c/msync.c");
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("SENTENCE(")?.split(')').next());
    names.map(str::to_owned).collect()
}

fn source(name: &str) -> String {
    fs::read_to_string(Path::new(PACKAGE).join(name)).unwrap()
}

#[test]
fn every_sentence_is_run() {
    let here = source("tests/c_programs.rs");
    let run = |name: &&String| here.contains(&format!("    fn {name}() {{\n        holds(\"{name}\");\n"));
    let missing: Vec<String> = sentences().iter().filter(|name| !run(name)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_sentences_compile_in_every_language() {
    each_program("tests/c/msync.c", |_, _| {});
}

/// The names that a program can link with.
fn exported() -> BTreeSet<String> {
    let output = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library().folder.join("libsteadfast.so"))
        .output()
        .expect("nm comes with the linker (binutils)");
    let told = String::from_utf8(output.stdout).unwrap();
    told.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect()
}

/// The names that the header declares.
fn declared() -> BTreeSet<String> {
    let header = source("include/steadfast.h");
    let code = header.split("extern \"C\" {").nth(1).unwrap();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let words = code.split(|next: char| !next.is_alphanumeric() && next != '_' && next != '(');
    words.filter_map(|word| word.split_once('(')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_shared_library_exports_what_the_header_declares_and_nothing_else() {
    let exported = exported();
    assert!(exported.iter().all(|name| name.starts_with("sf_")), "{exported:?}");
    assert_eq!(exported, declared());
}

#[test]
fn every_exported_function_is_called_by_a_test() {
    let sources: String = PROGRAMS.into_iter().chain(EXAMPLES).map(source).collect();
    let missing: Vec<String> =
        exported().into_iter().filter(|name| !sources.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_loader_finds_the_library_under_its_versioned_name() {
    let library = library();
    let output = Command::new("readelf").arg("-d").arg(library.folder.join("libsteadfast.so")).output();
    let told = String::from_utf8(output.expect("readelf comes with the linker (binutils)").stdout).unwrap();
    let soname = format!("libsteadfast.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
    assert!(told.contains(&format!("[{soname}]")), "{told}");
    assert_eq!(fs::read_link(library.folder.join(soname)).unwrap(), Path::new("libsteadfast.so"));
}

#[test]
fn pkg_config_says_what_the_compiler_says() {
    let library = library();
    let file = fs::read_to_string(library.folder.join("steadfast.pc")).unwrap();
    let line = file.lines().find_map(|line| line.strip_prefix("Libs.private: ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), library.native);
    if !is_there("pkg-config") {
        return;
    }
    let output = Command::new("pkg-config")
        .args(["--cflags", "--libs", "steadfast"])
        .env("PKG_CONFIG_PATH", &library.folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = told.split_whitespace().collect();
    let folder = library.folder.display();
    assert_eq!(words, [format!("-I{PACKAGE}/include"), format!("-L{folder}"), "-lsteadfast".to_owned()]);
}

/// The library is not instrumented: what it makes of a program's memory, it makes through calls that AddressSanitizer watches,
/// and what the program makes of the library's is the program's code.
#[test]
fn the_programs_run_clean_under_address_sanitizer() {
    let folder = folder();
    let program = |name: &str| folder.path().join(name);
    let (compiler, language) = LANGUAGES[0];
    let asan = ["-fsanitize=address", "-fno-omit-frame-pointer"];
    let probe = program("probe");
    if let Err(reason) = build(compiler, language, &asan, "examples/counter.c", Linking::Shared, &probe) {
        println!("not run: AddressSanitizer is not to be had here: {reason}");
        return;
    }
    let run = |name: &str, arguments: &[&str]| {
        let files = self::folder();
        let output = Command::new(program(name))
            .arg(files.path())
            .args(arguments)
            .env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status, told)
    };
    let [handles, addresses, msync, log] = PROGRAMS;
    for (name, source) in [
        ("planted", "tests/c/planted.c"),
        ("handles", handles),
        ("addresses", addresses),
        ("msync", msync),
        ("log", log),
    ] {
        build(compiler, language, &asan, source, Linking::Shared, &program(name)).unwrap();
    }
    let (status, told) = run("planted", &[]);
    assert!(!status.success() && told.contains("heap-buffer-overflow"), "{status}\n{told}");
    let mut failures = Vec::new();
    let sentences = sentences();
    let each = sentences.iter().map(|sentence| ("msync", Some(sentence.as_str())));
    for (name, sentence) in
        [("handles", None), ("addresses", None), ("log", Some("sink")), ("log", Some("frozen"))]
            .into_iter()
            .chain(each)
    {
        let (status, told) = run(name, sentence.as_slice());
        // A check that fails is the business of the test that is named after it.
        if told.contains("Sanitizer") {
            failures.push(format!("{name} {sentence:?}: {status}\n{told}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
