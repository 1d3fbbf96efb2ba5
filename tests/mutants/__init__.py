"""Whether the tests of the pure packages would see a fault: `./dev mutants [N] [--seed S]`.

    packages   whose tests are tried
    changes    the small faults that can be put into a source text, each with its place
    covering   a copy of the project, and which tests run which of its lines
    plugin     what pytest does in that copy
    trial      one fault in it, against the tests that run its line

A library was looked for first. mutmut 3 chooses tests by function, leaves out what stands outside of
functions, which here is most of the tables, and draws nothing; cosmic-ray runs one command for every mutant,
which with these tests takes a minute and a half.
"""
