//! Where the home is: what the server's environment says, else its user's entry in `passwd`.
//!
//! Only the local file is read: a directory service may not answer. Whoever is known there alone
//! has `HOME` set by what started the server.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::sample::kernels::variable;

/// The home of a process with this environment and user; only an absolute path is one.
/// `passwd` is read only where the environment says nothing.
pub(crate) fn find(
    environ: &[u8],
    uid: Option<u32>,
    passwd: impl FnOnce() -> Vec<u8>,
) -> Option<PathBuf> {
    let absolute = |bytes: &[u8]| {
        let path = Path::new(OsStr::from_bytes(bytes));
        path.is_absolute().then(|| path.to_owned())
    };
    variable(environ, "HOME")
        .and_then(absolute)
        .or_else(|| absolute(of_user(&passwd(), uid?)?))
}

/// `name:password:uid:gid:gecos:home:shell`.
fn of_user(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    let uid = uid.to_string();
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        (fields.nth(2)? == uid.as_bytes()).then(|| fields.nth(2))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        broken line\njovyan:x:1000:100:Jo,,,:/home/jovyan:/bin/bash\nno:x:1001:100::relative:\n";

    #[test]
    fn the_environment_comes_first_and_passwd_knows_the_rest() {
        let find = |environ: &[u8], uid| find(environ, Some(uid), || PASSWD.to_vec());
        assert_eq!(find(b"A=1\0HOME=/data/jo\0", 1000), Some("/data/jo".into()));
        for environ in [b"A=1\0".as_slice(), b"", b"HOME=\0", b"HOME=somewhere\0"] {
            assert_eq!(find(environ, 1000), Some("/home/jovyan".into()));
        }
        assert_eq!(find(b"", 1001), None);
        assert_eq!(find(b"", 10), None);
        assert_eq!(super::find(b"", None, || PASSWD.to_vec()), None);
    }
}
