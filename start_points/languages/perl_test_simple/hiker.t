use strict;
use warnings;
use Test::Simple tests => 1;
use Hiker;

ok(Hiker::answer() == 42, "the answer to life, the universe and everything");
