"""What several tests share: katas, services, engines, disks, made for a test."""
