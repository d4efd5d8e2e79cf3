import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class HikerTest {

    @Test
    public void theAnswerToLifeTheUniverseAndEverything() {
        assertEquals(42, Hiker.answer());
    }
}
