//! Every function of the table is caught in a program that is not linked with greenpatch.

use std::fmt::Write;

use greenpatch::shims::SYMBOLS;

use crate::program::{Scratch, green, native, run};

/// Prints the name of each function, and the file that defines the one which the program would call.
fn source() -> String {
    let mut source = "#include <dlfcn.h>\n#include <stdio.h>\n".to_owned();
    for symbol in SYMBOLS {
        // Under another name, beside the one that a header may declare.
        let name = symbol.name;
        let _ = writeln!(
            source,
            "extern char its_{name}[] __asm__(\"{name}\") __attribute__((weak));"
        );
    }
    source += "static const struct { const char *name; char *address; } table[] = {\n";
    for symbol in SYMBOLS {
        let name = symbol.name;
        let _ = writeln!(source, "    {{ \"{name}\", its_{name} }},");
    }
    source += r#"};
        int main(void) {
            for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
                Dl_info info;
                if (table[i].address && dladdr(table[i].address, &info))
                    printf("%s %s\n", table[i].name, info.dli_fname);
            }
            return 0;
        }
    "#;
    source
}

#[test]
fn each_function_that_a_program_calls_is_the_preload_librarys() {
    let scratch = Scratch::new();
    let program = scratch.compile("program", &source(), &["-fPIC", "-fno-builtin", "-w"]);
    let natively = run(&mut native(&[&program]), b"").succeeds();
    let preloaded = run(&mut green(&[], &[&program]), b"").succeeds();
    let (natively, preloaded) = (natively.text(), preloaded.text());
    // Names that only programs linked long ago look for are not found by this one.
    assert!(
        natively.lines().count() * 10 > SYMBOLS.len() * 9,
        "{natively}"
    );
    for line in natively.lines() {
        let (name, _) = line.split_once(' ').expect("a name and a file");
        let caught = preloaded
            .lines()
            .filter_map(|line| line.split_once(' '))
            .any(|(other, file)| other == name && file.ends_with("libgreenpatch_preload.so"));
        assert!(caught, "{name} is not caught");
    }
}
