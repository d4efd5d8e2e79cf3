module HikerTest

open NUnit.Framework

[<Test>]
let ``the answer to life, the universe and everything`` () =
    Assert.AreEqual(42, Hiker.answer ())
