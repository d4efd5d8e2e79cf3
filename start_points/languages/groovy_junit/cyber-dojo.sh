# Classes of deleted files must not be tested any more.
rm -f *.class
groovyc *.groovy || exit
# The options make Java start fast, as it does not run for long.
QUICK='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto'
java $QUICK -cp '.:/groovy/*' org.junit.runner.JUnitCore $(ls *Test*.class | grep -v '\$' | sed 's/\.class$//')
