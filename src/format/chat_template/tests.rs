//! Templates, honest and hostile.

use super::*;

fn render(source: &str, messages: &[Message]) -> Result<String, String> {
    ChatTemplate::new(source, "<s>", "</s>")
        .and_then(|t| t.render(messages, Ending::Answer))
        .map_err(|e| e.to_string())
}

fn hello() -> [Message; 1] {
    [Message::new("user", " Hi <b> ")]
}

#[test]
fn templates_see_what_transformers_shows_them() {
    let source = "{{ bos_token }}\n{% for m in messages %}\n  {% if m.role == 'user' %}\n\
                  {{ m['content'].strip() + eos_token }}{% endif %}\n{%- endfor %}\n\
                  {% if add_generation_prompt and not tools %}>{% endif %}\n";
    assert_eq!(render(source, &hello()).unwrap(), "<s>\nHi <b></s>>");
    let json = "{{ messages | tojson }}{{ messages[0] | tojson(indent=1) }}";
    assert_eq!(
        render(json, &hello()).unwrap(),
        "[{\"role\": \"user\", \"content\": \" Hi <b> \"}]\
         {\n \"role\": \"user\",\n \"content\": \" Hi <b> \"\n}"
    );
    let generation = "{%- generation -%} {{ messages|length }} {%- endgeneration %}!";
    assert_eq!(render(generation, &hello()).unwrap(), "1!");
    let python = "{% set ns = namespace(at=9) %}{% for m in messages[::-1] %}{% if m.role == 'user' \
                  and not m.content.startswith('<t>') %}{% set ns.at = loop.index0 %}{% endif %}\
                  {% endfor %}{{ ns.at }}{% if messages[0].get('tool_calls') or \
                  messages[0].tools is defined %}?{% endif %}{% for k, v in messages[0].items() %}\
                  {{ k }}{% endfor %}{{ (messages | selectattr('role', 'equalto', 'user') | \
                  list)[-1].content.split('<')[0].lstrip() }}|";
    assert_eq!(render(python, &hello()).unwrap(), "0rolecontentHi |");
    let year = render("{{ strftime_now('%Y') }}", &hello()).unwrap();
    assert!(year.parse::<u32>().unwrap() >= 2025);
}

#[test]
fn hostile_templates_end_in_errors() {
    for (source, expected) in [
        ("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}", ""),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ""),
        (
            "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(64) %}\
          {% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
            "instructions",
        ),
        ("{{ 'a' * 9999999999999 }}", ""),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[9].content }}", "line 1"),
        ("{{ strftime_now('%Q') }}", "%Q"),
        ("{% if %}", "line 1"),
        ("{%}", "line 1"),
        ("{%}}{% ", "line 1"),
        ("{% for", ""),
        ("{{ ''.__class__.__mro__ }}", ""),
        ("{% include '/etc/passwd' %}", ""),
    ] {
        let e = render(source, &hello()).unwrap_err();
        assert!(e.contains(expected), "{source}: {e}");
    }
    assert!(ChatTemplate::new(&"x".repeat(MAX_TEMPLATE + 1), "", "").is_err());
}

/// Lists share their items: a few instructions make a tree that no memory holds, or that no stack is
/// deep enough for.
#[test]
fn hostile_values_end_in_errors() {
    let grow = |times: usize, body: &str, then: &str| {
        format!(
            "{{% set ns = namespace(x=['a'], y=['a']) %}}{{% for i in range({times}) %}}\
             {{% set ns.x = {body} %}}{{% set ns.y = {} %}}{{% endfor %}}{{{{ {then} }}}}",
            body.replace('x', "y")
        )
    };
    let pair = "[ns.x, ns.x]";
    let lazy = ChatTemplate::new("{{ [1] | chain([2]) }}", "", "").unwrap();
    assert!(lazy.render(&hello(), Ending::Answer).unwrap_err().to_string().contains("chain"));
    let too_much = [
        grow(40, pair, "ns.x == ns.y"),
        grow(30, pair, "[ns.x, ns.y] | unique"),
        grow(40, pair, "ns.x | tojson | length"),
        grow(40, pair, "ns.x"),
        grow(40, "{'a': ns.x, 'b': ns.x}", "ns.x ~ ''"),
        grow(40, "(ns.x, ns.x)", "ns.x < ns.y"),
        grow(40, "ns.x + ns.x", "ns.x | length"),
        grow(40, "ns.x * 9", "ns.x | length"),
        grow(90_000, "ns.x + [1]", "ns.x | length"),
        grow(16, pair, "''") + "{% for i in range(9999) %}{{ ns.x == ns.y }}{% endfor %}",
        grow(16, pair, "''") + "{% for i in range(9999) %}{{ ns.x in [ns.y] }}{% endfor %}",
        grow(16, pair, "''") + "{% for i in range(9999) %}{{ [ns.x, ns.y] | sort | first }}{% endfor %}",
        grow(16, pair, "''") + "{% for i in range(9999) %}{{ '{}'.format(ns.x) | length }}{% endfor %}",
        "{% set x = ['a'] %}".to_owned() + &"{% set x = [x, x] %}".repeat(40) + "{{ x | string | length }}",
        format!(
            "{{% set ns = namespace(l=[]) %}}{{% for j in range(200) %}}{{% set ns.l = ns.l + [{}j * 37 % 203{}] %}}\
             {{% endfor %}}{{% for i in range(30) %}}{{% set x = (ns.l * 10) | sort %}}{{% endfor %}}",
            "[".repeat(58),
            "]".repeat(58)
        ),
        format!(
            "{{% set a = {0}1{1} %}}{{% set b = [{0}2{1}] * 30 %}}{{% for i in range(9000) %}}{{% set x = a in b %}}\
             {{% endfor %}}",
            "[".repeat(58),
            "]".repeat(58)
        ),
        "{% set l = ([1] * 100000) | list %}{% for i in range(9999) %}{% set a = l[-1:] %}{% endfor %}".into(),
        "{% set s = 'é' * 30000 %}{% for i in range(99999) %}{% set a = s[-1:] %}{% endfor %}".into(),
        format!(
            "{{% set ns = namespace(l=[]) %}}{{% for j in range(200) %}}{{% set ns.l = ns.l + [{}j{}] %}}{{% endfor %}}\
             {{% for i in range(99) %}}{{% set x = [[ns.l * 10]] | map('map', 'sort') | list %}}{{% endfor %}}",
            "[".repeat(55),
            "]".repeat(55)
        ),
        "{% set l = range(60000) | list %}{% for i in range(9999) %}{% set c = l.count('x') %}{% endfor %}".into(),
        "{% set l = [1.2345e-300] * 60000 %}{% for i in range(99) %}{% set c = l is startingwith('a') %}{% endfor %}".into(),
        "{% for i in range(99999) %}{% set c = '{:.1074e}'.format(1.23456e-300) %}{% endfor %}".into(),
        "{% for i in range(99999) %}{% set c = '%.1074f' | format(1.5) %}{% endfor %}".into(),
        "{% for i in range(99) %}{{ ([1.7345e308] * 30000) | map('round', -3) | list | length }}{% endfor %}".into(),
        "{{ '{:>1000000000}'.format(1) }}".into(),
        "{{ '%1000000000d' | format(1) }}".into(),
        "{{ 'a'.center(1000000000) | length }}".into(),
        "{{ ('%(a)s' * 10000) | format(a='a' * 60000) | length }}".into(),
        "{{ ('%(a)s' * 10000) | format({'a': 'a' * 60000}) | length }}".into(),
        "{{ (['%(a)s' * 10000] * 100) | map('format', a='a' * 60000) | list | length }}".into(),
        "{{ (['a' * 63] * 130000) | sum(start='') | length }}".into(),
        "{{ ([(1,)] * 50000) | sum(start=()) | length }}".into(),
        "{{ ('a' * 1000000) | length }}".into(),
        "{{ ('a' * 60000) | trim('b' * 60000 ~ 'a') | length }}".into(),
        "{{ ('a' * 60000).strip('b' * 60000 ~ 'a') | length }}".into(),
        "{{ (['a'] * 60000) | map(attribute='0.' * 30000 ~ '0') | list | length }}".into(),
        "{% set s = 'a' * 60000 %}{% for i in range(99000) %}{% set c = s[-1] %}{% endfor %}".into(),
        "{% set s = 'a' * 60000 %}{% for i in range(99000) %}{% for c in s %}{% break %}{% endfor %}{% endfor %}".into(),
        format!("{{{{ '{}'.format(1) | length }}}}", "{0:>99999}".repeat(9999)),
    ];
    for source in too_much {
        let start = std::time::Instant::now();
        let template = ChatTemplate::new(&source, "", "").unwrap();
        let e = template.render(&hello(), Ending::Answer).unwrap_err();
        assert!(matches!(e, Error::TemplateFuel(_) | Error::TemplateLength { .. }), "{source:.200}: {e}");
        assert!(start.elapsed().as_secs() < 20, "{source:.200}: {:?}", start.elapsed());
    }
    let zipped = ChatTemplate::new("{{ [1] | zip([2]) }}", "", "").unwrap();
    assert!(zipped.render(&hello(), Ending::Answer).unwrap_err().to_string().contains("zip"));
    let far = ChatTemplate::new("{{ 1.5 | round(1074) }}", "", "").unwrap();
    assert!(far.render(&hello(), Ending::Answer).unwrap_err().to_string().contains("places"));
    // Nothing is kept of what made a list, though minijinja would walk through all of it.
    let empty = |times: usize, body: &str| grow(times, body, "ns.x | length").replace("['a']", "[]");
    for source in [
        empty(40, "ns.x + ns.x"),
        empty(40, "(ns.x + ns.x) * 2"),
        empty(20_000, "ns.x[0:]"),
        empty(20_000, "ns.x[::-1]"),
        empty(30_000, "ns.x | reverse"),
        empty(30_000, "ns.x + []"),
        empty(40, "([ns.x + ns.x] | map('reverse') | list)[0]"),
    ] {
        assert_eq!(render(&source, &hello()).as_deref(), Ok("0"), "{source}");
    }
    let deep = |then: &str| grow(60_000, "[ns.x]", then);
    for (source, expected) in [
        ("{% set ns=namespace() %}{% set ns.x = ns %}{{ ns }}".into(), "a namespace into"),
        ("{% set ns=namespace() %}{% set ns.x = ns %}{{ ns|tojson }}".into(), "a namespace into"),
        ("{% set ns=namespace() %}{% set ns.x=[ns] %}{{ ns.x }}".into(), "a namespace into"),
        ("{% set ns=namespace() %}{% set ns.x={'a': ns} %}{{ ns == ns.x.a }}".into(), "a namespace into"),
        ("{% set ns=namespace() %}{{ namespace(x=ns) }}".into(), "a namespace into"),
        (deep("ns.x"), "deeper than 64"),
        (deep("ns.x == ns.y"), "deeper than 64"),
        (deep("ns.x | tojson"), "deeper than 64"),
        (grow(99, "{'a': ns.x}", "1"), "deeper than 64"),
        (grow(99, "ns.x | batch(9)", "1"), "deeper than 64"),
        ("{{ {[1]: 2} }}".into(), "can't be a key"),
        ("{{ debug() }}".into(), "debug is unknown"),
        ("{{ 1 | trim(*[1]) }}".into(), "'trim'"),
        ("{{ 1 | nothing }}".into(), "filter nothing is unknown"),
        ("{{ messages | map('nothing') | list }}".into(), "filter nothing is unknown"),
        ("{{ messages | select('nothing') | list }}".into(), "test nothing is unknown"),
        ("{{ 1 is nothing }}".into(), "test nothing is unknown"),
    ] {
        let e = render(&source, &hello()).unwrap_err();
        assert!(e.contains(expected), "{source:.200}: {e}");
    }
}

#[test]
fn long_expressions_end_in_errors_or_answers() {
    for (start, link, end) in [
        ("{{ 1", "+1", " }}"),
        ("{{ 1", " if 1 else 1", " }}"),
        ("{{ 'a'", "~messages", " }}"),
        ("{{ 1", "==1", " }}"),
        ("{{ 1", " and 1", " }}"),
        ("{{ 1", "**1", " }}"),
        ("{{ messages", ".a", " }}"),
        ("{{ messages", "[0]", " }}"),
        ("{{ messages", "()", " }}"),
        ("{{ messages", "|list", " }}"),
        ("{{ messages", " is x", " }}"),
        ("{{ 1", ",1", " }}"),
        ("{{ ", "not ", " 1 }}"),
        ("{{ ", "-", " 1 }}"),
        ("{{ ", "[", " }}"),
        ("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
        ("", "{% if 1 %}", ""),
        ("", "{% for a in messages %}", ""),
        ("", "{% set x %}", ""),
        ("", "{% macro a() %}", ""),
    ] {
        let source = format!("{start}{}{end}", link.repeat(900_000 / link.len()));
        let _ = render(&source, &hello());
    }
}

/// Everything that jumps, with what is put between the jumps.
#[test]
fn weighed_code_does_what_it_did() {
    for (source, expected) in [
        ("{% for a in [1, 2, 3] if a != 2 %}{{ a }}{{ loop.index }}{% else %}-{% endfor %}", "1132"),
        ("{% for a in [] %}x{% else %}{{ 'n' + 'o' }}{% endfor %}", "no"),
        (
            "{% for a in [1, 2, 3] %}{% if a == 2 %}{% continue %}{% endif %}{{ a }}{% break %}{% endfor %}",
            "1",
        ),
        ("{% for a in [[1, [2]], [3]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}", "123"),
        ("{% macro m(a, b=[4]) %}{{ a + b[0] }}{% endmacro %}{{ m(1) }}{{ m(1, b=[1 * 1]) }}", "52"),
        ("{% macro m() %}<{{ caller([1]) }}>{% endmacro %}{% call(x) m() %}{{ x[0] }}{% endcall %}", "<1>"),
        (
            "{{ 1 < 2 < 3 }}{{ 1 < 2 > 3 }}{{ [] or 'x' }}{{ [1] and 'y' }}{{ 'a' if 1 in [1] }}",
            "TrueFalsexya",
        ),
        ("{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ {'k': [ns.a]}['k'][0] }}", "22"),
        ("{% set x %}a{{ 'b' | upper }}{% endset %}{{ x }}{% filter upper %}c{% endfilter %}", "aBC"),
        ("{{ ([1] + [2, 3])[1] }}{{ (messages[0:] * 2)[1].role }}{{ [1, 2][::-1] == [2, 1] }}", "2userTrue"),
        ("{{ 'xay'.removeprefix('x').removesuffix('y').removesuffix('y') }}|{{ 'b'.ljust(3) }}|", "a|b  |"),
        (
            "{{ 'c'.rjust(3, '-') }}{{ 'd'.center(4, '*') }}{{ 'ef'.center(5) }}|{{ 'g'.center(-1) }}",
            "--c*d**  ef |g",
        ),
        // As CPython prints them, joined.
        (
            "{{ 'a=b=c'.partition('=') | join('|') }} {{ 'a=b=c'.rpartition('=') | join('|') }} \
             {{ 'ab'.partition('=') | join('|') }} {{ 'ab'.rpartition('=') | join('|') }}",
            "a|=|b=c a=b|=|c ab|| ||ab",
        ),
        (
            "{{ 'a,b,c'.rsplit(',', -1) | length }}{{ 'a,b,c'.rsplit(',', maxsplit=1) | length }} \
             {{ 'a,b,c'.rsplit(',', 1) | join('|') }} {{ ' a b  c '.rsplit() | join('|') }} \
             {{ ' a b  c '.rsplit(none, 1) | join('|') }} {{ ''.rsplit() | length }}",
            "32 a,b|c a|b|c  a b|c 0",
        ),
        ("{{ '-7'.zfill(4) }}{{ '7'.zfill(3) }}{{ '77'.zfill(1) }}{{ 'aBß'.swapcase() }}", "-00700777AbSS"),
        ("{% block b %}{{ [1] | length }}{% endblock %}{{ nothing }}{{ nothing is defined }}", "1False"),
        ("{{ dict(a=1, **{'b': 2}) | tojson }}{{ '{:>3}{}'.format(1, 'x') }}", ""),
        (
            "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='role') | join('+') }}",
            "user",
        ),
    ] {
        match render(source, &hello()) {
            Ok(text) if expected.is_empty() => assert!(text.contains("{\"a\": 1, \"b\": 2}"), "{text}"),
            Ok(text) => assert_eq!(text, expected, "{source}"),
            Err(e) => panic!("{source}: {e}"),
        }
    }
}

/// What an honest template does at every turn of a long conversation is paid for.
#[test]
fn long_conversations_are_rendered() {
    let source = "{% set ns = namespace(kept=[]) %}{% for m in messages %}{% if loop.index0 == messages|length - 1 \
                  or m.role in ['user', 'tool'] %}{% set ns.kept = ns.kept + [m] %}{% endif %}\
                  {{ m.role ~ ':' ~ m['content'].strip() | trim }}{% endfor %}{{ ns.kept | length }}";
    let said = "word ".repeat(100);
    let turns: Vec<Message> = (0..2000).map(|_| Message::new("user", said.as_str())).collect();
    assert!(render(source, &turns).unwrap().ends_with("2000"));
}

/// Fuel alone would let each of these write 64 bytes an instruction, and as much again for every byte
/// of the conversation.
#[test]
fn output_is_capped_where_fuel_is_left() {
    let kilobyte = "k".repeat(1024);
    let endless = format!("{{% for i in range(99999) %}}{kilobyte}{{% endfor %}}");
    let echoes = "{% for i in range(99999) %}{{ messages[0].content }}{% endfor %}";
    let captured = "{% set x %}{% for i in range(9) %}{{ messages[0].content }}{% endfor %}{% endset %}\
                    {{ x }}";
    for (source, said) in
        [(endless.as_str(), "x".into()), (echoes, "y".repeat(1 << 20)), (captured, "z".repeat(1 << 20))]
    {
        let template = ChatTemplate::new(source, "", "").unwrap();
        let e = template.render(&[Message::new("user", said)], Ending::Answer).unwrap_err();
        let Error::TemplateLength { found, most } = e else { panic!("{source:.80}: {e}") };
        assert_eq!(most, ChatTemplate::MAX_OUTPUT);
        assert!(found > most && found <= 2 * most, "stopped after {found} bytes");
    }
    // To the byte, and what was allowed is whole.
    let exact = |most: usize| {
        let template = ChatTemplate::new("<{{ messages[0].content }}>", "", "")
            .unwrap()
            .bounded(ChatTemplate::FUEL, most);
        template.render(&[Message::new("user", "é".repeat(10))], Ending::Answer)
    };
    assert_eq!(exact(22).unwrap(), format!("<{}>", "é".repeat(10)));
    let e = exact(21).unwrap_err().to_string();
    assert!(e.contains("22 bytes") && e.contains("at most 21"), "{e}");
}

#[test]
fn a_message_that_is_continued_is_not_closed() {
    let source = "{% for m in messages %}[{{ m.role }}:{{ m.content.strip() }}]{% endfor %}\
                  {% if add_generation_prompt %}[assistant:{% endif %}";
    let template = ChatTemplate::new(source, "", "").unwrap().bounded(ChatTemplate::FUEL, 40);
    let ends = |said: &str| {
        let messages = [Message::new("user", "1"), Message::new("assistant", said)];
        template.render(&messages, Ending::Continued).map_err(|e| e.to_string())
    };
    assert_eq!(ends("two and ").unwrap(), "[user:1][assistant:two and ");
    assert!(ends(&"x".repeat(30)).unwrap_err().contains("40"));
}
