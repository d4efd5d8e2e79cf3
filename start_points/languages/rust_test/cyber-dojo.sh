rustc --edition=2021 --test -o run.tests main.rs && ./run.tests
