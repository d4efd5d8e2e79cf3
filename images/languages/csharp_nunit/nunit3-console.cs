// Stands in for NUnit 3's console, which Debian does not have: runs NUnit 2's, whose options differ,
// and ends with the summary in the words of NUnit 3, which the colour rules of its time look for.
using System;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;

static class NUnit3Console
{
    static readonly Regex Summary = new Regex(
        @"^Tests run: (\d+), Errors: (\d+), Failures: (\d+), Inconclusive: (\d+)" +
        @"[^\n]*\n\s*Not run: \d+, Invalid: (\d+), Ignored: (\d+), Skipped: (\d+)",
        RegexOptions.Multiline);

    static int Main(string[] arguments)
    {
        var options = new[] { "-nologo", "-noresult" };
        var assemblies = arguments.Where(each => !each.StartsWith("-"));
        var output = new Recorder(Console.Out);
        Console.SetOut(output);
        var status = AppDomain.CurrentDomain.ExecuteAssembly(
            "/usr/lib/nunit/nunit-console.exe", options.Concat(assemblies).ToArray());
        WriteSummary(output);
        return status;
    }

    static void WriteSummary(Recorder output)
    {
        var found = Summary.Match(output.ToString());
        if (!found.Success) return;
        var counts = found.Groups.Cast<Group>().Skip(1).Select(each => int.Parse(each.Value)).ToArray();
        int run = counts[0], inconclusive = counts[3], skipped = counts[5] + counts[6];
        int unable = counts[1] + counts[2], failed = unable + counts[4];
        output.WriteLine("Test Run Summary");
        output.WriteLine("  Overall result: {0}", failed > 0 ? "Failed" : "Passed");
        output.WriteLine(
            "  Test Count: {0}, Passed: {1}, Failed: {2}, Warnings: 0, Inconclusive: {3}, Skipped: {4}",
            run + counts[4] + skipped, run - unable - inconclusive, failed, inconclusive, skipped);
    }
}

// Writes to another writer, and remembers what was written.
class Recorder : TextWriter
{
    readonly TextWriter writer;
    readonly StringBuilder written = new StringBuilder();

    public Recorder(TextWriter writer) { this.writer = writer; }

    public override Encoding Encoding { get { return writer.Encoding; } }

    public override void Write(char value)
    {
        written.Append(value);
        writer.Write(value);
    }

    public override void Write(string value)
    {
        written.Append(value);
        writer.Write(value);
    }

    public override void Flush() { writer.Flush(); }

    public override string ToString() { return written.ToString(); }
}
