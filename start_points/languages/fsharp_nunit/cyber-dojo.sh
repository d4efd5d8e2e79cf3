# A file can use only the files before it. In alphabetical order tests follow what they test. If
# yours don't, list the files one by one.
NUNIT=/usr/lib/cli/nunit.framework-2.6.3
fsharpc --nologo --target:library -r:$NUNIT/nunit.framework.dll --out:RunTests.dll *.fs || exit
nunit-console -nologo ./RunTests.dll -noresult
