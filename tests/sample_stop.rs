//! Stop strings, however the text is cut into pieces.

use proptest::prelude::*;
use ridgepoint::sample::{StopMatcher, StopText};

/// Feeds `pieces`; returns the whole output and the stop string found.
fn run(stops: &[String], mode: StopText, pieces: &[&str]) -> (String, Option<usize>) {
    let mut matcher = StopMatcher::new(stops, mode);
    let mut out = String::new();
    for piece in pieces {
        matcher.push(piece, &mut out);
    }
    matcher.finish(&mut out);
    assert_eq!(matcher.held(), "");
    (out, matcher.found())
}

/// The definition: of all matches the one that ends first, of those that end together the longest.
fn naive(stops: &[String], mode: StopText, text: &str) -> (String, Option<usize>) {
    for end in (1..=text.len()).filter(|&end| text.is_char_boundary(end)) {
        let here =
            stops.iter().enumerate().filter(|(_, s)| !s.is_empty() && text[..end].ends_with(s.as_str()));
        let longest = here.fold(None, |best: Option<(usize, usize)>, (i, s)| match best {
            Some((_, length)) if length >= s.len() => best,
            _ => Some((i, s.len())),
        });
        if let Some((index, length)) = longest {
            let keep = if mode == StopText::Cut { end - length } else { end };
            return (text[..keep].to_owned(), Some(index));
        }
    }
    (text.to_owned(), None)
}

#[test]
fn every_cut_of_a_text_gives_the_same() {
    let text = "one ü<|end|> two";
    let stops = ["<|end|>".to_owned()];
    let cuts: Vec<usize> = (1..text.len()).filter(|&i| text.is_char_boundary(i)).collect();
    for &a in &cuts {
        for &b in cuts.iter().filter(|&&b| b >= a) {
            for &c in cuts.iter().filter(|&&c| c >= b) {
                let pieces = [&text[..a], &text[a..b], &text[b..c], &text[c..]];
                assert_eq!(run(&stops, StopText::Cut, &pieces), ("one ü".to_owned(), Some(0)));
                let whole = ("one ü<|end|>".to_owned(), Some(0));
                assert_eq!(run(&stops, StopText::Include, &pieces), whole);
            }
        }
    }
    let chars: Vec<String> = text.chars().map(String::from).collect();
    let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
    assert_eq!(run(&stops, StopText::Cut, &chars).0, "one ü");
}

#[test]
fn only_what_may_become_a_stop_is_held_back() {
    let mut matcher = StopMatcher::new(&["\n\nUser:", "日本語"], StopText::Cut);
    let mut out = String::new();
    assert_eq!(matcher.push("Hello\n", &mut out), None);
    assert_eq!((out.as_str(), matcher.held()), ("Hello", "\n"));
    // Of three line ends the last two may begin the stop string.
    assert_eq!(matcher.push("\n\nUs", &mut out), None);
    assert_eq!((out.as_str(), matcher.held()), ("Hello\n", "\n\nUs"));
    assert_eq!(matcher.push("ual 日本", &mut out), None);
    assert_eq!((out.as_str(), matcher.held()), ("Hello\n\n\nUsual ", "日本"));
    assert_eq!(matcher.push("語 and more", &mut out), Some(1));
    assert_eq!(matcher.push("even more", &mut out), Some(1));
    matcher.finish(&mut out);
    assert_eq!(out, "Hello\n\n\nUsual ");
}

#[test]
fn no_stop_strings_hold_nothing() {
    let mut matcher = StopMatcher::new::<&str>(&[], StopText::Cut);
    let mut out = String::new();
    assert_eq!(matcher.push("abc", &mut out), None);
    assert_eq!(out, "abc");
    assert_eq!(run(&[String::new()], StopText::Cut, &["abc"]), ("abc".to_owned(), None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn streamed_equals_the_definition(
        // A small alphabet with two- and three-byte characters that share lead bytes.
        text in "[abäöあい]{0,24}",
        stops in prop::collection::vec("[abäöあい]{0,5}", 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        mode in prop_oneof![Just(StopText::Cut), Just(StopText::Include)],
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.retain(|&i| text.is_char_boundary(i));
        at.extend([0, text.len()]);
        at.sort_unstable();
        let pieces: Vec<&str> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        prop_assert_eq!(run(&stops, mode, &pieces), naive(&stops, mode, &text));
    }
}
