# The options make Java start fast, as it does not run for long.
java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp '.:/usr/share/java/*' clojure.main run_tests.clj
