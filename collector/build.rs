//! Embeds the hub page: `ui/dist` when it was built, else a placeholder, so that building the
//! collector needs no Node. Writes the table that `serve/page.rs` includes.

#![allow(clippy::print_stdout)] // how a build script speaks to cargo

use std::{
    env,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

const PLACEHOLDER: &str = "<!doctype html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>hubmeter</title></head>
<body>
<h1>hubmeter</h1>
<p>This collector was built without its page. Build it with <code>npm ci &amp;&amp; npm run build</code> in
<code>collector/ui</code>, then build the collector again. The API is at
<a href=\"api/v1/servers\">api/v1/servers</a> and described at
<a href=\"api/openapi.json\">api/openapi.json</a>.</p>
</body>
</html>
";

fn main() -> io::Result<()> {
    let ui = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("ui");
    let dist = ui.join("dist");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
    // A watched path that is missing would rebuild the collector each time, and all of
    // node_modules is too much to watch.
    match ui.join("node_modules").is_dir() || dist.is_dir() {
        true => println!("cargo::rerun-if-changed=ui/dist"),
        false if ui.is_dir() => println!("cargo::rerun-if-changed=ui"),
        false => {}
    }
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &dist, &mut files)?;
    } else {
        let placeholder = out.join("placeholder.html");
        fs::write(&placeholder, PLACEHOLDER)?;
        files.push(("index.html".to_owned(), placeholder));
    }
    files.sort();
    let mut table = String::from("static ASSETS: &[Asset] = &[\n");
    for (path, file) in files {
        let bytes = fs::read(&file)?;
        let mut hash = DefaultHasher::new(); // the same in every run
        bytes.hash(&mut hash);
        let etag = format!("\"{:016x}\"", hash.finish());
        let _ = writeln!(
            table,
            "    Asset {{ path: {path:?}, content_type: {:?}, etag: {etag:?}, bytes: include_bytes!({file:?}) }},",
            content_type(&path),
        );
    }
    table.push_str("];\n");
    fs::write(out.join("page.rs"), table)
}

fn collect(root: &Path, dir: &Path, into: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, into)?;
        } else if let Ok(below) = path.strip_prefix(root) {
            into.push((below.to_string_lossy().replace('\\', "/"), path.clone()));
        }
    }
    Ok(())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
