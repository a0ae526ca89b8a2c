//! Every parser of the machine's text against text that no machine should say: never a panic,
//! never a wrong number, unknown instead.

use proptest::{collection::vec, prelude::*};

use super::{
    file::{field, field_kb, only_number, pids},
    kernels::{Identity, variable},
    limit::EnvLimits,
    mountinfo::{MountLine, memberships, mounts},
    stat::{self, RESIDENT_BYTES_MAX, Stat, Statm, TICK_NS, page_bytes},
};
use crate::workload::{
    label,
    told::{KERNELS_MAX, TERMINALS_MAX, TOLD_BODY_BYTES_MAX, TOLD_LABEL_BYTES_MAX, Told},
};

/// Names that people and attackers give to programs.
const NAMES: [&[u8]; 10] = [
    b"",
    b")",
    b"(",
    b"a) R 1 (",
    b") S 1 1 1 1 1 1",
    b"a\nb",
    b"\xff\xfe\x80",
    b"a\0b",
    b"((((((((((((((((",
    b"))))))))))))))) ",
];

/// Texts in place of a number.
const NUMBERS: [&str; 12] = [
    "-1",
    "18446744073709551616",
    "9223372036854775808",
    "99999999999999999999999999",
    "0x10",
    "1e9",
    "1.5",
    "max",
    "+-3",
    "\u{0665}",
    "1\u{0}",
    "NaN",
];

/// A stat line: pid, name, then the fields from the third.
fn line(name: &[u8], fields: &[String]) -> Vec<u8> {
    let mut line = b"4321 (".to_vec();
    line.extend_from_slice(name);
    line.extend_from_slice(b") ");
    line.extend_from_slice(fields.join(" ").as_bytes());
    line.push(b'\n');
    line
}

/// Fields 3 to 52 of a process with these figures.
fn fields(ppid: u32, times: [u64; 4], threads: u32, start: u64) -> Vec<String> {
    let mut fields = vec!["0".to_owned(); 50];
    fields[0] = "S".to_owned();
    fields[1] = ppid.to_string();
    for (at, time) in times.iter().enumerate() {
        fields[11 + at] = time.to_string();
    }
    fields[17] = threads.to_string();
    fields[19] = start.to_string();
    fields[45] = "77".to_owned();
    fields
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(NAMES.to_vec()).prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 0..64),
    ]
}

/// Lines of what may be keys, numbers and anything.
fn texts() -> impl Strategy<Value = String> {
    vec("[a-z_:A-Z]{1,12}[ \t]{0,3}-?[0-9]{0,22}( kB)?\n?", 0..12).prop_map(|l| l.concat())
}

proptest! {
    #[test]
    fn a_stat_line_is_read_right_whatever_its_name(
        name in names(),
        ppid in 0_u32..4_194_304,
        times in prop::array::uniform4(0_u64..1_000_000_000),
        threads in 0_u32..4_194_304,
        start in 0_u64..1_000_000_000_000,
    ) {
        let line = line(&name, &fields(ppid, times, threads, start));
        let stat = Stat::parse(&line).unwrap();
        prop_assert_eq!(stat.ppid, ppid);
        prop_assert_eq!(stat.own_ns, (times[0] + times[1]) * TICK_NS);
        prop_assert_eq!(stat.reaped_ns, (times[2] + times[3]) * TICK_NS);
        prop_assert_eq!((stat.threads, stat.start_ticks), (threads, start));
        prop_assert_eq!(stat.arg_start, 77);
        prop_assert_eq!(stat::name(&line).unwrap(), String::from_utf8_lossy(&name));
    }

    #[test]
    fn no_beginning_of_a_stat_line_is_taken_for_all_of_it(name in names()) {
        let line = line(&name, &fields(17, [150, 25, 30, 7], 9, 887_766));
        for end in 0..line.len() {
            prop_assert_eq!(Stat::parse(&line[..end]), None, "{} bytes", end);
        }
    }

    #[test]
    fn a_stat_line_with_a_number_that_is_none_is_refused(
        at in prop::sample::select(vec![1_usize, 4, 11, 12, 13, 14, 17, 19]),
        number in prop::sample::select(NUMBERS.to_vec()),
    ) {
        // Terminals may be anything below zero.
        prop_assume!(at != 4 || number != "-1");
        let mut fields = fields(17, [150, 25, 30, 7], 9, 887_766);
        fields[at] = number.to_owned();
        let stat = Stat::parse(&line(b"x", &fields));
        // 2⁶³ is a terminal's number to nobody, and any other's to nobody either.
        prop_assert_eq!(stat, None, "field {} is {}", at + 3, number);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused_and_never_a_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = (Stat::parse(&bytes), Statm::parse(&bytes), stat::name(&bytes));
        let _ = (mounts(&bytes).count(), memberships(&bytes).count());
        let _ = (EnvLimits::from_block(&bytes), variable(&bytes, "X"));
        let identity = Identity::of(&bytes, &bytes, String::from_utf8_lossy(&bytes).into_owned());
        prop_assert!(!label(&identity.name).contains(char::is_control));
        let text = String::from_utf8_lossy(&bytes);
        let _ = (field(&text, "a"), field_kb(&text, "a"), only_number(&text), pids(&text));
    }

    #[test]
    fn statm_is_pages_that_a_machine_can_have_or_nothing(pages in any::<[u64; 3]>()) {
        let line = format!("{} {} {} 1 0 9 0\n", pages[0], pages[1], pages[2]);
        let most = RESIDENT_BYTES_MAX / page_bytes();
        let statm = Statm::parse(line.as_bytes());
        prop_assert_eq!(statm.is_some(), pages[1].max(pages[2]) <= most);
        for end in 0..line.len() {
            prop_assert_eq!(Statm::parse(&line.as_bytes()[..end]), None);
        }
    }

    #[test]
    fn a_field_of_a_cut_file_is_that_of_the_whole_or_unknown(text in texts(), key in "[a-z_:A-Z]{1,3}") {
        let whole = (field(&text, &key), field_kb(&text, &key));
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let cut = text.get(..end).unwrap();
            prop_assert!(field(cut, &key).is_none_or(|n| Some(n) == whole.0));
            prop_assert!(field_kb(cut, &key).is_none_or(|n| Some(n) == whole.1));
        }
    }

    #[test]
    fn a_cut_list_of_pids_is_its_beginning_or_unknown(
        list in vec(any::<u32>(), 0..12),
        end in prop::sample::select(vec![' ', '\n']),
    ) {
        let text: String = list.iter().map(|pid| format!("{pid}{end}")).collect();
        prop_assert_eq!(pids(&text), Some(list.clone()));
        for cut in 0..text.len() {
            let cut = pids(&text[..cut]);
            prop_assert!(cut.is_none_or(|cut| list.starts_with(&cut)));
        }
    }

    #[test]
    fn a_mount_is_seen_between_any_others(
        before in vec(any::<u8>(), 0..200),
        after in vec(any::<u8>(), 0..200),
        folder in "[a-z \t\n\\\\]{1,12}",
    ) {
        let escaped: String = folder.bytes().map(|b| match b {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{b:03o}"),
            b => char::from(b).to_string(),
        }).collect();
        let mount = format!("\n31 23 0:28 /hub /sys/{escaped} rw shared:9 - cgroup2 cgroup2 rw,x\n");
        let text = [&before[..], mount.as_bytes(), &after[..]].concat();
        let wanted = std::path::PathBuf::from(format!("/sys/{folder}"));
        let found = |line: &MountLine| line.mount_point == wanted && line.fs_type == "cgroup2";
        prop_assert!(mounts(&text).any(|line| found(&line)));
    }

    #[test]
    fn what_is_told_is_within_its_bounds_or_refused(
        body in prop_oneof![
            vec(any::<u8>(), 0..300),
            r#"\{"kernels":\[(\{"id":"[a-z\\\\u0]{0,8}","pid":-?[0-9]{1,22},"idle_ms":[0-9.e]{1,9}\},?){0,3}\]\}"#
                .prop_map(String::into_bytes),
            "(\\[|\\{\"kernels\":){0,400}".prop_map(String::into_bytes),
        ],
    ) {
        if let Ok(told) = Told::from_json(&body) {
            prop_assert!(told.kernels.len() <= KERNELS_MAX);
            prop_assert!(told.terminals.len() <= TERMINALS_MAX);
            prop_assert!(told.kernels.iter().all(|k| k.id.len() <= TOLD_LABEL_BYTES_MAX));
        }
    }
}

#[test]
fn four_megabytes_of_arguments_or_of_told_names_are_no_trouble() {
    let id = "x".repeat(4 << 20);
    let arguments = format!("kernel-{id}.json\0python\0kernel-7.json\0");
    let environ = format!("JPY_SESSION_NAME={id}\0MEM_LIMIT={id}\0");
    let identity = Identity::of(arguments.as_bytes(), environ.as_bytes(), id.clone());
    assert_eq!(identity.kernel_id.as_deref(), Some("7"));
    assert_eq!(identity.session, None, "longer than any path");
    assert!(label(&identity.name).len() <= 64 * 4);
    let limits = EnvLimits::from_block(environ.as_bytes());
    assert_eq!(limits.memory_limit_bytes, None);
    let body = format!(r#"{{"kernels":[{{"id":"{id}"}}]}}"#);
    assert!(body.len() > TOLD_BODY_BYTES_MAX);
    assert!(Told::from_json(body.as_bytes()).is_err());
}
