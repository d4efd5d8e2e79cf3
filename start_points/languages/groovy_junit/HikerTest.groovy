import static org.junit.Assert.assertEquals

import org.junit.Test

class HikerTest {

    @Test
    void theAnswerToLifeTheUniverseAndEverything() {
        assertEquals 42, Hiker.answer()
    }
}
