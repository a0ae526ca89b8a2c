//! The generated code that is committed is what the `.proto` files say.

#![allow(clippy::expect_used)] // a failing step is the failing test

use std::{env, fs, path::Path};

fn generate(root: &Path) -> String {
    let files = protox::compile(["hubmeter/v1/link.proto"], [root]).expect("proto files compile");
    let out = tempdir();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .bytes("hubmeter.v1.Hello.instance_id")
        .bytes("hubmeter.v1.Up.batch")
        .out_dir(&out)
        .compile_fds(files)
        .expect("code generation succeeds");
    fs::read_to_string(out.join("hubmeter.v1.rs")).expect("generated file is readable")
}

fn tempdir() -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&dir).expect("target directory is writable");
    dir
}

#[test]
fn committed_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed_path = root.join("src/gen/hubmeter.v1.rs");
    let fresh = generate(root);
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(root.join("src/gen")).expect("source directory is writable");
        fs::write(&committed_path, &fresh).expect("source directory is writable");
    }
    let committed = fs::read_to_string(&committed_path).unwrap_or_default();
    assert!(
        committed == fresh,
        "proto/src/gen is out of date: run `UPDATE=1 cargo test -p hubmeter-proto`"
    );
}
