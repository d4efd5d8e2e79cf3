import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;

public class Hiker {

    private final Connection guide;

    public Hiker(Connection guide) {
        this.guide = guide;
    }

    public void publish() throws SQLException {
        try (Statement statement = guide.createStatement()) {
            statement.execute("CREATE TABLE guide (answer INTEGER)");
            statement.execute("INSERT INTO guide VALUES (6 * 9)");
        }
    }
}
