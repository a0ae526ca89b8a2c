use super::*;

const NOW_MS: i64 = 1_574_000_000_000;

#[test]
fn every_rule_has_a_preview_in_every_form_for_every_reader() {
    for rule in Rule::ALL {
        for reader in [Reader::Admin, Reader::User] {
            let shown = |format| {
                let config = NoticeConfig::default();
                let shown = preview(&config, rule, reader, format, NOW_MS).unwrap();
                String::from_utf8_lossy(&shown).into_owned()
            };
            let text = shown(PreviewFormat::Text);
            let words = rule.as_str().replace('_', " ");
            assert!(
                text.starts_with(&format!("Subject: hubmeter: {words}, ")),
                "{text}"
            );
            assert!(
                !text.contains("None") && !text.contains("an unknown"),
                "{text}"
            );
            if rule != Rule::Killed {
                continue; // a picture takes its time
            }
            let html = shown(PreviewFormat::Html);
            assert!(
                html.contains("<img src=\"data:image/png;base64,"),
                "{rule:?}"
            );
        }
    }
}

#[test]
fn the_picture_of_an_example_has_its_line_its_limit_and_where_it_leads() {
    let verdict = verdict(Rule::RunawayMemory, NOW_MS);
    let scene = scene(&verdict, NOW_MS);
    assert!(scene.leads_to.is_some_and(|(at_ms, _)| at_ms > NOW_MS));
    let bytes = picture::png(&scene).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.width, frame.height), (1200, 500));
    let share = |colour: [u8; 3]| {
        let of = pixels.chunks_exact(3).filter(|pixel| *pixel == colour);
        of.count()
    };
    assert!(share([31, 111, 235]) > 1_000, "memory");
    assert!(share([198, 40, 40]) > 1_000, "limit");
    assert!(share([217, 119, 6]) > 50, "where it leads");
    assert!(bytes.len() < 64 * 1024, "{} bytes", bytes.len());
}

#[test]
fn figures_that_are_none_still_make_a_picture() {
    for scene in [
        Scene::default(),
        Scene {
            memory: vec![(0, f64::NAN), (1, f64::INFINITY)],
            limit_bytes: Some(0.0),
            ..Scene::default()
        },
        Scene {
            from_ms: 10,
            to_ms: 0,
            memory: vec![(5, -1.0), (i64::MAX, 1e30)],
            ..Scene::default()
        },
    ] {
        assert!(
            picture::png(&scene).unwrap().starts_with(b"\x89PNG"),
            "{scene:?}"
        );
    }
}
