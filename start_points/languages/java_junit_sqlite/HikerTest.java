import static org.junit.Assert.assertEquals;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import org.junit.Test;

public class HikerTest {

    @Test
    public void theAnswerToLifeTheUniverseAndEverythingIsPublished() throws SQLException {
        try (Connection guide = DriverManager.getConnection("jdbc:sqlite::memory:");
                Statement statement = guide.createStatement()) {
            new Hiker(guide).publish();
            ResultSet found = statement.executeQuery("SELECT answer FROM guide");
            assertEquals(42, found.getInt("answer"));
        }
    }
}
