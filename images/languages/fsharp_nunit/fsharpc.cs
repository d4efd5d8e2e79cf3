// F#'s compiler as a command: the library compiles, and this prints the errors in the form of
// fsharpc, file(line,column): error FS0001: what is wrong.

using System;
using System.Linq;
using Microsoft.FSharp.Compiler;
using Microsoft.FSharp.Compiler.SimpleSourceCodeServices;

static class FSharpC
{
    static readonly string Libraries = "/usr/lib/mono/4.5/";
    static readonly string Own = AppDomain.CurrentDomain.BaseDirectory;

    static int Main(string[] arguments)
    {
        // By default the library looks for these in folders of Windows.
        var found = new[] { "--noframework", "--simpleresolution" }
            .Concat(new[] { "mscorlib", "System", "System.Core", "System.Numerics", "System.Xml" }
                .Select(name => "-r:" + Libraries + name + ".dll"))
            .Concat(new[] { "-r:" + Own + "FSharp.Core.dll" });
        var given = new[] { "fsharpc" }.Concat(found).Concat(arguments).ToArray();
        var result = new SimpleSourceCodeServices(null).Compile(given);
        foreach (var each in result.Item1)
            Console.Error.WriteLine(Line(each));
        return result.Item2;
    }

    static string Line(FSharpErrorInfo info)
    {
        var kind = info.Severity.IsError ? "error" : "warning";
        var file = info.FileName.Replace(Environment.CurrentDirectory + "/", "");
        var place = file == "unknown" || file == "startup"
            ? ""
            : $"{file}({info.StartLineAlternate},{info.StartColumn + 1}): ";
        return $"{place}{kind} FS{info.ErrorNumber:0000}: {info.Message}";
    }
}
