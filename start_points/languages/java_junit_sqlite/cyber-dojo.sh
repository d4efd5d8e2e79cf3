# Classes of deleted files must not be tested any more.
rm -f *.class
# The options make Java start fast, as it does not run for long.
QUICK='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto'
javac $(printf -- '-J%s ' $QUICK) -Xlint:all -cp '.:/junit/*' *.java || exit
java $QUICK -cp '.:/junit/*' org.junit.runner.JUnitCore $(ls *Test*.class | grep -v '\$' | sed 's/\.class$//')
