# A file can use what stands in the files before it. As the names go, tests come after what they
# test; name the files one by one if yours don't.
NUNIT=/usr/lib/cli/nunit.framework-2.6.3
fsharpc --nologo --target:library -r:$NUNIT/nunit.framework.dll --out:RunTests.dll *.fs || exit
nunit-console -nologo ./RunTests.dll -noresult
