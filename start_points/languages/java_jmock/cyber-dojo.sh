# What a deleted file held is not to be tested any more.
rm -f *.class
# The machine is to start fast, not to run for long.
QUICK='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto'
javac $(printf -- '-J%s ' $QUICK) -Xlint:all -cp '.:/jmock/*' *.java || exit
java $QUICK -cp '.:/jmock/*' org.junit.runner.JUnitCore $(ls *Test*.class | grep -v '\$' | sed 's/\.class$//')
