"""Regular expressions in Ruby's dialect: a real Ruby agrees with what is refused without it."""

import json
import subprocess
from itertools import product

from storer.start_points import regexs

PIECES = ("a", "(", ")", "[", "]", "^", "|", "*", "?", "\\", "(?:", "[:alpha:]", "#", "(?#", "{2}")

# Answers for each line, a JSON string, whether it is a regular expression.
SCRIPT = """
require "json"
$VERBOSE = nil
STDIN.each_line do |line|
  begin
    Regexp.new(JSON.parse(line))
    puts "taken"
  rescue RegexpError
    puts "refused"
  end
end
"""


def taken_by_ruby(patterns: list[str]) -> list[bool]:
    command = ["docker", "run", "--rm", "--interactive", "--network", "none"]
    command += ["--entrypoint", "/usr/bin/ruby3.1", "cyber-dojo/ruby_lambdas", "--disable-gems"]
    lines = "".join(f"{json.dumps(each)}\n" for each in patterns)
    done = subprocess.run(
        [*command, "-e", SCRIPT], input=lines, capture_output=True, text=True, check=True
    )
    return [line == "taken" for line in done.stdout.splitlines()]


def test_ruby_refuses_all_that_is_refused() -> None:
    patterns = ["".join(each) for size in range(1, 5) for each in product(PIECES, repeat=size)]
    by_ruby = taken_by_ruby(patterns)
    wrongly = [
        pattern
        for pattern, taken in zip(patterns, by_ruby, strict=True)
        if taken and regexs.fault(pattern) is not None
    ]
    assert wrongly == []
    refused_by_ruby = by_ruby.count(False)
    refused = sum(regexs.fault(each) is not None for each in patterns)
    assert refused > 0.8 * refused_by_ruby
