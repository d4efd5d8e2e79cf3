NUNIT=/usr/lib/cli/nunit.framework-2.6.3
mcs -target:library -lib:$NUNIT -reference:nunit.framework.dll -out:RunTests.dll *.cs || exit
nunit-console -nologo ./RunTests.dll -noresult
