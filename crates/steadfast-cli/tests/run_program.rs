//! `steadfast run`: what it sets, and what it refuses to start.

mod run;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use run::{Said, folder, run, steadfast};

/// Cargo builds it with the tests, and puts it beside them.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join("libsteadfast_preload.so");
    assert!(library.exists(), "{} is not there", library.display());
    library
}

/// `steadfast run` with the library, in a folder.
fn run_with_library(folder: &Path, args: &[&str]) -> Said {
    let library = library();
    let all: Vec<&str> =
        ["run", "--preload", library.to_str().unwrap()].iter().chain(args).copied().collect();
    let mut command = steadfast(folder, &all);
    for name in ["LD_PRELOAD", "STEADFAST_ATOMIC", "STEADFAST_PUBLISH", "STEADFAST_STRICT", "STEADFAST_LOG"] {
        command.env_remove(name);
    }
    command.output().unwrap().into()
}

#[test]
fn the_program_finds_the_library_and_what_was_asked_for() {
    let dir = folder();
    let show = "echo $LD_PRELOAD; env | grep ^STEADFAST_ | sort";
    let said = run_with_library(dir.path(), &["--", "sh", "-c", show]).code(0);
    assert_eq!(said.out.trim_end(), library().display().to_string(), "and no variable: {said:?}");
    let options = ["--atomic", "*.a", "--atomic", "/b", "--strict", "--no-publish", "--log", "log", "--"];
    let said = run_with_library(dir.path(), &[&options[..], &["sh", "-c", show]].concat()).code(0);
    let log = fs::canonicalize(dir.path()).unwrap().join("log");
    let variables = format!(
        "STEADFAST_ATOMIC=*.a:/b\nSTEADFAST_LOG={}\nSTEADFAST_PUBLISH=0\nSTEADFAST_STRICT=1\n",
        log.display()
    );
    assert!(said.out.ends_with(&variables), "{said:?}");
    assert!(log.exists(), "the library was loaded");
    assert_eq!(said.err, "");
}

#[test]
fn it_stands_before_what_is_preloaded_already() {
    let dir = folder();
    let library = library();
    let mut command = steadfast(
        dir.path(),
        &["run", "--preload", library.to_str().unwrap(), "sh", "-c", "echo $LD_PRELOAD"],
    );
    let said: Said = command.env("LD_PRELOAD", "libc.so.6").output().unwrap().into();
    assert_eq!(said.code(0).out.trim_end(), format!("{}:libc.so.6", library.display()));
}

#[test]
fn the_program_has_its_name_its_arguments_and_its_exit_code() {
    let dir = folder();
    let said =
        run_with_library(dir.path(), &["sh", "-c", "echo $0 \"$@\"; exit 9", "name", "--strict", "-x", "--"]);
    assert_eq!(said.code(9).out, "name --strict -x --\n", "what stands behind the program is the program's");
    let said = run_with_library(
        dir.path(),
        &["sh", "-c", "ps -o args= -p $$ >/dev/null; cat /proc/$$/cmdline | tr '\\0' ' '"],
    );
    assert!(said.out.starts_with("sh -c "), "{said:?}");
}

#[test]
fn files_of_a_python_program_are_atomic() {
    let dir = folder();
    fs::write(dir.path().join("a.bin"), [0; 4096]).unwrap();
    let script = "import mmap, os\nf=open('a.bin','r+b')\nm=mmap.mmap(f.fileno(),0)\nm[0:5]=b'hello'\nm.flush()\n\
        m[0:5]=b'never'\nos.kill(os.getpid(),9)\n";
    if Command::new("python3").arg("--version").output().is_err() {
        return println!("lacking: python3");
    }
    let said = run_with_library(dir.path(), &["--atomic", "*.bin", "--", "python3", "-c", script]);
    assert_eq!(said.code, None, "{said:?}");
    assert!(dir.path().join("a.bin.steadfast").exists());
    run(dir.path(), &["recover", "a.bin"]).code(0);
    assert_eq!(&fs::read(dir.path().join("a.bin")).unwrap()[..5], b"hello");
}

/// The command and the library as they are installed: `bin/steadfast` and `lib/`, or both in one folder.
#[test]
fn the_library_is_found_beside_the_command_and_in_lib() {
    let dir = folder();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let command = bin.join("steadfast");
    fs::copy(env!("CARGO_BIN_EXE_steadfast"), &command).unwrap();
    let start = || -> Said {
        Command::new(&command).args(["run", "sh", "-c", "echo $LD_PRELOAD"]).output().unwrap().into()
    };
    let said = start().code(1);
    said.complains(&["libsteadfast_preload.so is missing", "/bin/", "/lib/", "--preload"]);
    for place in ["bin", "lib"] {
        let place = dir.path().join(place);
        fs::create_dir_all(&place).unwrap();
        let copy = place.join("libsteadfast_preload.so");
        fs::copy(library(), &copy).unwrap();
        assert_eq!(start().code(0).out.trim_end(), fs::canonicalize(&copy).unwrap().display().to_string());
        fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn mistakes_are_told() {
    let dir = folder();
    let path = dir.path();
    run_with_library(path, &["--", "no-such-program"]).code(127).complains(&["no-such-program", "PATH"]);
    run_with_library(path, &["--", "./nowhere/a"]).code(127).complains(&["./nowhere/a", "no such program"]);
    fs::write(path.join("plain"), "x").unwrap();
    run_with_library(path, &["--", "./plain"]).code(126).complains(&["./plain", "permissions"]);
    run_with_library(path, &["--atomic", "a.bin", "--", "true"])
        .code(2)
        .complains(&["a.bin", "absolute", "*/a.bin"]);
    run_with_library(path, &["--atomic", "*:b", "--", "true"]).code(2).complains(&["colon"]);
    run(path, &["run", "--preload", "nowhere.so", "--", "true"]).code(1).complains(&["nowhere.so"]);
    run(path, &["run", "--preload", ".", "--", "true"]).code(1).complains(&["folder"]);
    run(path, &["run", "--preload", "plain", "--", "true"]).code(1).complains(&["plain", "no library"]);
    fs::copy(library(), path.join("a b.so")).unwrap();
    run(path, &["run", "--preload", "a b.so", "--", "true"]).code(1).complains(&["space", "a b.so"]);
    assert_eq!(run(path, &["run"]).code, Some(2));
}

#[test]
fn a_static_program_is_refused_and_so_is_a_script_that_one_runs() {
    let dir = folder();
    let path = dir.path();
    fs::write(path.join("a.c"), "int main(void) { return 0; }").unwrap();
    let built = Command::new("cc").args(["-static", "-o", "static", "a.c"]).current_dir(path).status();
    if !built.is_ok_and(|status| status.success()) {
        return println!("lacking: a C compiler that links statically");
    }
    run_with_library(path, &["--", "./static"]).code(126).complains(&["static", "statically"]);
    let script = path.join("script");
    fs::write(&script, format!("#! {}/static -x\n", path.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    run_with_library(path, &["--", "./script"]).code(126).complains(&["statically"]);
}

#[test]
fn a_program_that_gains_rights_is_refused() {
    let dir = folder();
    let program = dir.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    if std::os::unix::fs::chown(&program, Some(12345), None).is_err() {
        return println!("lacking: root, to make a program another user's");
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    run_with_library(dir.path(), &["--", "./program"]).code(126).complains(&["set-user-ID", "LD_PRELOAD"]);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    run_with_library(dir.path(), &["--", "./program"]).code(0);
}
