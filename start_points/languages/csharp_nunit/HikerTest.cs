using NUnit.Framework;

[TestFixture]
public class HikerTest
{
    [Test]
    public void The_answer_to_life_the_universe_and_everything()
    {
        Assert.AreEqual(42, Hiker.Answer());
    }
}
