//! The archive a kernel unpacks at its start: cpio's "new ASCII" format, in the part that is
//! needed. No other tool is asked, and no file has to belong to root before.

use std::path::Path;

/// Ends an archive.
const TRAILER: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

/// Files so far.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: Vec<String>,
}

// === impl Archive ===

impl Archive {
    /// Adds a file that can be run, at `path` from the root, and the directories it lies in.
    pub(super) fn program(&mut self, path: &Path, content: &[u8]) {
        let name = path.to_string_lossy().trim_start_matches('/').to_owned();
        self.directories_of(&name);
        self.entry(&name, PROGRAM, (0, 0), content);
    }

    /// Adds a directory.
    pub(super) fn directory(&mut self, path: &str) {
        let name = path.trim_matches('/').to_owned();
        self.directories_of(&name);
        if !self.directories.contains(&name) {
            self.entry(&name, DIRECTORY, (0, 0), &[]);
            self.directories.push(name);
        }
    }

    /// Adds a character device.
    pub(super) fn device(&mut self, path: &str, number: (u32, u32)) {
        let name = path.trim_start_matches('/').to_owned();
        self.directories_of(&name);
        self.entry(&name, DEVICE, number, &[]);
    }

    /// The whole of it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn directories_of(&mut self, name: &str) {
        let parents: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
        for at in parents {
            self.directory(&name[..at]);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries, // inode
            mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            u32::try_from(content.len()).unwrap_or(u32::MAX),
            0,
            0, // device it lies on
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0, // no checksum
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_the_kernel_reads_and_its_directories_come_first_and_once() {
        let mut archive = Archive::default();
        archive.program(Path::new("/a/b/one"), b"abc");
        archive.program(Path::new("/a/b/two"), b"");
        let text = String::from_utf8(archive.finish()).unwrap();
        assert!(text.len().is_multiple_of(4));
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("a\0") < at("a/b\0") && at("a/b\0") < at("a/b/one\0"));
        assert_eq!(text.matches("a/b\0").count(), 1);
        let head = &text[at("a/b/one\0") - 110..at("a/b/one\0")];
        assert_eq!(&head[..6], "070701");
        assert_eq!(&head[14..22], "000081ed", "mode");
        assert_eq!(&head[54..62], "00000003", "bytes");
        assert_eq!(&head[94..102], "00000008", "bytes of the name");
        assert!(text.contains(TRAILER));
    }
}
